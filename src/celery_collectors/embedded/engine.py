"""A client's side of the embedded engine: use it, leave a request to it, look at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from celery_collectors.embedded import logs, wire
from celery_collectors.embedded.home import Home, unusable
from celery_collectors.embedded.locks import Lock
from celery_collectors.embedded.state import EngineStatus, read_status
from celery_collectors.errors import EngineError

ROOM_NEEDED_BYTES = 10_000_000

_POLL_S = 0.01
_SUPERVISOR = "celery_collectors.embedded.supervisor"


@dataclass(frozen=True)
class Addresses:
    """Where a running engine is reached.

    >>> Addresses(Path("/run/e/valkey.sock")).ledger_url
    'unix:///run/e/valkey.sock?db=1'
    """

    socket: Path

    @property
    def broker_url(self) -> str:
        """For Celery: database 0 of the engine's Valkey."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    @property
    def ledger_url(self) -> str:
        """For the ledger: database 1, so that neither lists the other's keys."""
        return f"unix://{self.socket}?db=1"

    @property
    def payloads_url(self) -> str:
        """For large values: files beside the server's own, so that its memory need not hold them."""
        return f"file://{self.socket.parent}/payloads"

    @property
    def environment(self) -> dict[str, str]:
        """By which a process of the project works on this engine, whatever its code says; Celery's results are in
        database 2."""
        brokers = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")
        ledgers = ("COLLECTORS_LEDGER", "COLLECTORS_FORCED_LEDGER")
        results = {"CELERY_RESULT_BACKEND": f"redis+socket://{self.socket}?virtual_host=2"}
        payloads = {"COLLECTORS_FORCED_PAYLOADS": self.payloads_url}
        return dict.fromkeys(brokers, self.broker_url) | dict.fromkeys(ledgers, self.ledger_url) | results | payloads


@contextmanager
def use(
    home: Path | str,
    *,
    app: str,
    project: Path,
    worker: bool = True,
    start_timeout_s: float = 10.0,
) -> Iterator[Addresses]:
    """Use the engine in a folder while the block lasts: the first user starts it, it ends with the last.

    The server answers once the block is entered; the worker, if one is wanted, may still be starting.

    Args:
        home: The engine's folder, made if it isn't there; see :func:`default_home`.
        app: How Celery finds the app, like ``examples.airports``.
        project: The folder that the app is imported from.
        worker: Whether a worker must run while the block lasts.
        start_timeout_s: How long to wait for the server, in seconds.

    Raises:
        EngineError: if the engine can't be started; it says why and what to do.

    Example::

        with use(home, app="examples.airports", project=Path.cwd()) as addresses:
            redis.Redis.from_url(addresses.ledger_url).ping()
    """
    _refuse_other_platforms()
    place = Home(Path(os.path.abspath(home)))  # noqa: PTH100 - resolve() would lengthen a path that a link shortens
    place.make()
    start = _Start(place, app, project.resolve(), time.monotonic() + start_timeout_s)
    with ExitStack() as held:
        try:
            held.enter_context(_shared(place.users_lock, start))
            if worker:
                held.enter_context(_shared(place.worker_lock, start))
            _ensure_running(start)
        except OSError as error:
            raise unusable(place.folder, error) from error
        if worker:
            _refuse_another_app(start)
        yield Addresses(place.socket)


def detach(home: Path | str, request_id: str) -> None:
    """Have a request finished though nobody waits for it: the engine goes on until it is final.

    Call it while using the engine; a file written after the last user has left waits for the next one.

    Raises:
        EngineError: if the note can't be written.

    Example::

        with use(home, app="examples.airports", project=Path.cwd()):
            detach(home, request.id)
    """
    place = Home(Path(home))
    if Path(request_id).name != request_id:
        raise EngineError(f"{request_id!r} is not a request's id: give the id that the request was opened with")
    try:
        place.detached.joinpath(request_id).touch()
    except OSError as error:
        raise unusable(place.folder, error) from error


@contextmanager
def provided(home: Path | str) -> Iterator[None]:
    """While the block lasts the engine starts no worker: whoever uses it has ours. Call it while using the engine.

    Example::

        with use(home, app="examples.airports", project=Path.cwd(), worker=False), provided(home):
            subprocess.run(["celery", "-A", "examples.airports", "worker"])
    """
    with Lock(Home(Path(home)).provided_lock) as lock:
        while not lock.try_shared():  # the supervisor is just looking whether anybody has it
            time.sleep(_POLL_S)
        yield


def await_end(home: Path | str, at_most_s: float = 5.0) -> None:
    """Wait a moment for an engine to end with its last user; it does not while somebody else needs it.

    >>> await_end("/nowhere")
    """
    place, end_s = Home(Path(home)), time.monotonic() + at_most_s
    while status(home).state != "stopped" and not _is_needed(place) and time.monotonic() < end_s:
        time.sleep(_POLL_S)


def _is_needed(place: Home) -> bool:
    """Whether others use it, or a request was left to it."""
    try:
        with Lock(place.users_lock) as users:
            if users.try_exclusive():
                return any(place.detached.iterdir())
            return users.try_shared()  # with other users; a supervisor that ends has the lock alone
    except OSError:  # its folder has just gone
        return False


def status(home: Path | str) -> EngineStatus:
    """Tell how the engine in a folder is, without starting or changing anything.

    >>> status("/nowhere").state
    'stopped'
    """
    place = Home(Path(home))
    said = read_status(place.status)
    if _is_alive(place):
        return said
    return replace(said, state="stopped", worker="off", supervisor_pid=None, valkey_pid=None, worker_pid=None)


@dataclass(frozen=True)
class _Start:
    """What it takes to start an engine, and until when."""

    home: Home
    app: str
    project: Path
    deadline_s: float

    def pause(self, waiting_for: str) -> None:
        """Wait a moment, or give up.

        Raises:
            EngineError: once the deadline has passed.
        """
        if time.monotonic() > self.deadline_s:
            raise EngineError(
                f"the embedded engine was not ready in time ({waiting_for}): "
                f"try again, or read {self.home.supervisor_log}"
            )
        time.sleep(_POLL_S)


@contextmanager
def _shared(path: Path, start: _Start) -> Iterator[None]:
    with Lock(path) as lock:
        while not lock.try_shared():
            start.pause("an earlier one is still stopping")
        yield


def _ensure_running(start: _Start) -> None:
    """Return once a live engine answers; the one client that gets the engine's lock starts it."""
    spawned = False
    while True:
        with Lock(start.home.engine_lock) as engine:
            if engine.try_exclusive():
                if spawned:
                    raise _why_it_ended(start.home)
                _spawn_supervisor(start, engine)
                spawned = True
        if _is_ready(start.home):
            return
        start.pause("Valkey does not answer yet")


def _is_ready(home: Home) -> bool:
    said = read_status(home.status)
    return said.state == "running" and wire.answers(home.socket)


def _spawn_supervisor(start: _Start, engine: Lock) -> None:
    """Start the supervisor, which inherits the lock: there is no moment in which nobody holds it.

    ``-P`` keeps the project's own modules from standing in for ours or for Python's.
    """
    home = start.home
    _refuse_a_full_disk(home)
    home.status.unlink(missing_ok=True)
    logs.rotate(home.supervisor_log)
    since_bytes = logs.size_bytes(home.supervisor_log)
    command = [sys.executable, "-P", "-m", _SUPERVISOR, str(home.folder), str(engine.fd), start.app]
    with home.supervisor_log.open("ab") as output:
        launched = subprocess.run(
            command,
            cwd=start.project,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(engine.fd,),
            start_new_session=True,  # the terminal's Ctrl-C is for the client
            check=False,
        )
    if launched.returncode != 0:
        words = logs.tail(home.supervisor_log, lines=1, since_bytes=since_bytes)
        raise EngineError(f"the embedded engine did not start: {' '.join(words)} (see {home.supervisor_log})")


def _refuse_a_full_disk(home: Home) -> None:
    """Said here, because an engine on a full disk can't even write down what is wrong."""
    free_bytes = shutil.disk_usage(home.folder).free
    if free_bytes < ROOM_NEEDED_BYTES:
        raise EngineError(
            f"the disk of {home.folder} is full ({free_bytes} bytes are free, {ROOM_NEEDED_BYTES} are "
            f"needed): make room, or set COLLECTORS_HOME to a folder on another disk"
        )


def _why_it_ended(home: Home) -> EngineError:
    words = read_status(home.status).error or " ".join(logs.tail(home.supervisor_log, lines=1))
    return EngineError(f"the embedded engine did not start: {words or f'see {home.supervisor_log}'}")


def _is_alive(home: Home) -> bool:
    try:
        fd = os.open(home.engine_lock, os.O_RDWR | os.O_CLOEXEC)  # not Lock(): that would create the file
    except OSError:
        return False
    with Lock(home.engine_lock, fd) as engine:
        return engine.held_by_others()


def _refuse_another_app(start: _Start) -> None:
    said = read_status(start.home.status)
    if (said.app, said.project) != (start.app, str(start.project)):
        raise EngineError(
            f"the engine in {start.home.folder} is running for {said.app} of {said.project}: "
            f"set COLLECTORS_HOME to another folder for {start.app} of {start.project}"
        )


def _refuse_other_platforms() -> None:
    if os.name != "posix":
        raise EngineError("the embedded engine needs Linux or macOS: give a broker's URL instead")
