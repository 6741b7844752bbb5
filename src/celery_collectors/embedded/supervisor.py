"""The one process that owns an engine: parent of its Valkey and of its worker, and the judge of when to stop.

Who holds what
--------------

Four lock files, all ``flock``: the kernel drops them when their holder dies.

``users.lock``
    shared by every client while it uses the engine.
``worker.lock``
    shared by those clients that want the worker.
``provided.lock``
    shared by those clients that run workers of their own: the engine then starts none.
``engine.lock``
    exclusive, from before the supervisor is started until it has ended. A client takes it and the supervisor
    inherits it, so it says at any time whether an engine lives, and lets exactly one client start one.

Why nobody is missed
--------------------

A client takes ``users.lock`` *first* and looks for an engine after that. The supervisor decides to stop by
taking ``users.lock`` alone, and then keeps it until it is gone. Whoever is first wins:

- The client has it: the supervisor can't take it, and goes on.
- The supervisor has it: the client waits (with a bound), gets it when the supervisor has ended, finds
  ``engine.lock`` free, and starts a new engine. In the instant in which only ``users.lock`` is free already,
  it finds an engine that doesn't answer, and looks again.

A request is detached by a client that still holds ``users.lock``, and the supervisor looks for detached
requests after it has taken the lock: it sees every one. While the worker is ending, ``users.lock`` stays
free: a client that comes back at once finds the server running, and a second worker is started beside the
first. Only stopping the server, a few hundredths of a second, happens behind the lock.

Told to stop by a signal, the supervisor may have users. It says ``stopping`` in its status before anything
else; clients that arrive wait for its end, those that are there lose their connection.

How nothing is left behind
--------------------------

Supervisor, guard, server, worker and the worker's pool are one process group of their own session;
``guard.py`` tells how the group ends with the supervisor. If its folder is deleted, the engine ends.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from celery_collectors.embedded import logs
from celery_collectors.embedded.detached import Detached
from celery_collectors.embedded.engine import Addresses
from celery_collectors.embedded.guard import Guard
from celery_collectors.embedded.home import Home
from celery_collectors.embedded.locks import Lock
from celery_collectors.embedded.state import EngineState, EngineStatus, write_status
from celery_collectors.embedded.worker_process import KeptWorker, WorkerCommand
from celery_collectors.errors import EngineError

if TYPE_CHECKING:
    from redis import Redis

    from celery_collectors.embedded.server import Server

TICK_S = 0.25

log = logging.getLogger(__name__)


class Supervisor:
    """Runs one engine until nobody needs it.

    Args:
        home: The engine's folder.
        engine_lock: Held already, by the client that started this process.
        command: How the worker is started.
        is_final: Whether a detached request needs no more work; one that the ledger doesn't know needs none.
    """

    def __init__(
        self, home: Home, *, engine_lock: Lock, command: WorkerCommand, is_final: Callable[[str], bool]
    ) -> None:
        self._home = home
        self._engine_lock = engine_lock
        self._users = Lock(home.users_lock)
        self._worker_users = Lock(home.worker_lock)
        self._provided = Lock(home.provided_lock)
        self._detached = Detached(home.detached, is_final)
        self._worker = KeptWorker(command)
        self._told_to_stop = False
        self._valkey_pid: int | None = None
        self._said = EngineStatus(
            app=command.app,
            project=str(command.project),
            supervisor_pid=os.getpid(),
            started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def run(self) -> int:
        """Start everything, look after it, stop everything.

        Returns:
            The process's exit status.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop_soon)
        try:
            self._say("starting")
            guard = Guard()
            self._worker.tick(wanted=self._wants_worker())  # it takes longer than the server, for which it waits
            server = _server(self._home)
            server.start()
            self._look_after(guard, server)
        except EngineError as error:
            log.error("%s", error)
            self._say("stopping", error=str(error))
            self._worker.stop()
            return 1
        return 0

    def _look_after(self, guard: Guard, server: Server) -> None:
        self._valkey_started(server)
        try:
            while not self._tick(guard, server):
                time.sleep(TICK_S)
        finally:
            self._say("stopping")
            self._worker.stop()
            server.stop()
            log.info("stopped")

    def _tick(self, guard: Guard, server: Server) -> bool:
        """Do what is due; true once it is time to stop."""
        if self._told_to_stop or not self._engine_lock.still_there():
            log.info("told to stop" if self._told_to_stop else "the engine's folder is gone")
            return True
        guard.tick()
        if server.died():
            server.restart()
            self._valkey_started(server)
        self._detached.forget_final()
        self._worker.tick(wanted=self._wants_worker())
        self._say("running")
        return self._nobody_needs_us()

    def _wants_worker(self) -> bool:
        needed = not self._detached.empty or self._worker_users.held_by_others()
        return needed and not self._provided.held_by_others()

    def _nobody_needs_us(self) -> bool:
        """If true, the users' lock is ours, and stays so until this process has ended."""
        if not self._worker.gone or not self._users.try_exclusive():
            return False
        if self._detached.empty:
            return True
        self._users.release()
        return False

    def _valkey_started(self, server: Server) -> None:
        self._valkey_pid = server.pid()
        log.info("Valkey started (process %s)", self._valkey_pid)

    def _say(self, state: EngineState, error: str | None = None) -> None:
        """Write the status if it has changed; a full disk must not end the engine."""
        said = replace(
            self._said,
            state=state,
            valkey_pid=self._valkey_pid,
            worker=self._worker.state,
            worker_pid=self._worker.pid,
            worker_crashes=self._worker.crashes,
            log_tail=self._worker.log_tail,
            error=error,
        )
        if said == self._said:
            return
        try:
            write_status(self._home.status, said)
            self._said = said
        except OSError as problem:
            log.error("can't write %s: %s", self._home.status, problem)

    def _stop_soon(self, _number: int, _frame: object) -> None:
        self._told_to_stop = True


def main(argv: Sequence[str]) -> int:
    """Run one engine in the background; the process that called this ends at once.

    Args:
        argv: The home, the descriptor of the engine's lock, the app.
    """
    folder, lock_fd, app = argv
    os.set_inheritable(int(lock_fd), False)  # the lock is this process's, not its children's
    if os.fork():  # so that the client has no child to wait for, and no zombie
        os._exit(0)
    os.setsid()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(process)d %(message)s")
    home = Home(Path(folder))
    for path in (home.valkey_log, home.worker_log):
        logs.rotate(path)
    addresses = Addresses(home.socket)
    command = WorkerCommand(
        app=app,
        project=Path.cwd(),
        socket=home.socket,
        environment=_worker_environment(addresses),
        log_path=home.worker_log,
    )
    engine_lock = Lock(home.engine_lock, int(lock_fd))
    return Supervisor(home, engine_lock=engine_lock, command=command, is_final=_asks(addresses)).run()


def _server(home: Home) -> Server:
    """Imported here, because that takes as long as the server's start, and the worker can begin before it."""
    from celery_collectors.embedded.server import Server

    return Server(home)


def _worker_environment(addresses: Addresses) -> dict[str, str]:
    """Our environment, with the broker and the ledger replaced whatever the app itself says.

    ``BROKER_URL`` goes because ``celery`` takes it for its ``--broker`` option, which wins over all of these.
    """
    kept = {name: value for name, value in os.environ.items() if name != "BROKER_URL"}
    return kept | addresses.environment


def _asks(addresses: Addresses) -> Callable[[str], bool]:
    """Ask the ledger, which is imported when there is a detached request to ask about: not at every start."""

    @cache
    def client() -> Redis:
        from celery_collectors.ledger.shards import connect

        return connect(addresses.ledger_url, patience_s=2)

    def is_final(request_id: str) -> bool:
        from celery_collectors.ledger.reading import is_over

        return is_over(client(), request_id)

    return is_final


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
