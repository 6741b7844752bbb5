"""What one process needs to execute runs: its connections, its keeper, its loop, its name.

Built lazily and once per process, after the fork; nothing here exists in a process that executes nothing.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from celery import Celery

from celery_collectors.calls import accepted
from celery_collectors.dispatch import Dispatcher, Teller
from celery_collectors.dispatch.results import Answer
from celery_collectors.errors import UnavailableError
from celery_collectors.events import Event, Hook
from celery_collectors.ledger import Ledger, Order
from celery_collectors.ledger.reading import Reader
from celery_collectors.ledger.stores import payload_store
from celery_collectors.payloads import PayloadStore
from celery_collectors.registry import Registry
from celery_collectors.settings import Settings
from celery_collectors.worker.keeper import Keeper
from celery_collectors.worker.loop import Loop
from celery_collectors.worker.settler import Settler
from celery_collectors.worker.soft_limit import SoftLimit
from celery_collectors.worker.threads import Threads

log = logging.getLogger(__name__)

WORKER_PATIENCE_S = 60.0
MOMENT_S = 0.5
PUT_OFF = 1000  # whatever is forgotten comes again by itself
UNWANTED = ("cancelled", "skipped", "superseded")
"""Why nobody wants what code does any more; at a time limit Celery's own ends it."""


def new_token() -> str:
    """What nobody else has: a lease's token. As good as a UUID, at a quarter of what making that takes."""
    return os.urandom(16).hex()


class Process:
    """One worker process's own parts."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.settings = runtime.settings
        self.registry = runtime.registry
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self.owner = f"{self.worker}:{uuid.uuid4().hex[:12]}"
        self.settler: Settler | None = None
        """Settles what ends on the loop."""
        self.put_off: deque[Mapping[str, Any]] = deque(maxlen=PUT_OFF)
        """What goes alone and could not be started here beside another such one, the oldest first."""
        self.stuck: set[str] = set()
        """Ids of Celery's requests that are over their time in the pool's own threads, which can't be left behind."""
        self._abandoned: list[Any] = []
        self._counting = threading.Lock()
        self._readers: deque[Reader] = deque()

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger; patient, because a worker has nothing better to do while it is away."""
        return Ledger.from_url(self.runtime.ledger_url(), self.settings, patience_s=WORKER_PATIENCE_S)

    @cached_property
    def store(self) -> PayloadStore:
        """The payload store."""
        return self._store_of(self.ledger)

    def _store_of(self, ledger: Ledger) -> PayloadStore:
        forks = self.runtime.is_main and self.runtime.forks
        return payload_store(ledger, self.settings, patience_s=WORKER_PATIENCE_S, apart=forks)

    @cached_property
    def reader(self) -> Reader:
        """Reads what runs have stored."""
        return Reader(self.ledger, self.store, accepted(self.runtime.app))

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """A reader on a connection of its own, for a thread that may be left behind in the middle of a reply.

        One that was left in good order is used again.
        """
        reader = self._readers.pop() if self._readers else self._new_reader()
        yield reader
        self._readers.append(reader)

    def _new_reader(self) -> Reader:
        ledger = Ledger.from_url(self.runtime.ledger_url(), self.settings, patience_s=WORKER_PATIENCE_S)
        return Reader(ledger, self._store_of(ledger), accepted(self.runtime.app))

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """Sends what the ledger says is due."""
        return Dispatcher(self.runtime.app, self.reader, self.settings)

    @cached_property
    def teller(self) -> Teller:
        """Tells the ledger what was sent."""
        return Teller(self.dispatcher, self.ledger)

    @property
    def has_sent(self) -> bool:
        """Whether this process has sent anything."""
        return "teller" in self.__dict__

    @cached_property
    def threads(self) -> Threads:
        """Run what has a time limit."""
        return Threads()

    @cached_property
    def keeper(self) -> Keeper:
        """Keeps this process's leases."""
        return Keeper(self.ledger, self.owner, self.settings.renew_s)

    @cached_property
    def soft_limit(self) -> SoftLimit:
        """Celery's soft time limit; used first by a task, in the thread that it would strike."""
        return SoftLimit()

    @cached_property
    def loop(self) -> Loop:
        """Runs coroutines."""
        return Loop(self.settings.async_cap, self.count_abandoned)

    def who(self) -> dict[str, Any]:
        """A fresh claim to a lease for this process."""
        return self.ledger.who(self.owner, self.worker, new_token())

    def publish(self, orders: Sequence[Order], answer: Answer | None = None) -> None:
        """Publish; what can't be published now is handed out again by the ledger.

        Args:
            orders: What the ledger handed out.
            answer: Tells what its chord came to, if that is at hand.
        """
        if not orders:
            return
        try:
            self.dispatcher.send(orders, answer)
            self.teller.soon()
        except UnavailableError as error:
            log.warning("%d messages wait in the ledger: %s", len(orders), error)

    def tell(self, event: Event) -> None:
        """Let every hook hear an event."""
        for hook in self.runtime.hooks:
            try:
                hook(event)
            except Exception:
                log.exception("the hook %r failed", hook)

    def count_abandoned(self, call: Any) -> int:
        """Remember a call, or a loop, whose thread may hang on; return how many still do."""
        with self._counting:
            self._abandoned.append(call)
        self._look_at_hanging()
        return self.hanging()

    @contextmanager
    def in_own_thread(self, task_id: str, ends_in_s: float) -> Iterator[Callable[[str], None]]:
        """Around code that runs in the pool's own thread; yields what the keeper is to call when it should stop.

        A pool's child ends itself, if nobody wants what its code does. A whole worker can't; there, one that goes on
        beyond its time costs this process a slot for good.
        """
        ends_at = time.monotonic() + ends_in_s
        inside = threading.Lock()

        def told(reason: str) -> None:
            with inside:
                if reason in UNWANTED and not is_over and self._may_end():
                    log.warning("this process ends itself, because what its code does is %s", reason)
                    os.kill(os.getpid(), signal.SIGTERM)
                elif time.monotonic() >= ends_at:
                    self.stuck.add(task_id)
                    self._look_at_hanging()

        is_over = False
        try:
            yield told
        finally:
            with inside:
                is_over = True
            self.stuck.discard(task_id)

    def _may_end(self) -> bool:
        """Whether this is a pool's child that runs nothing else."""
        return self.runtime.main_pid not in (None, os.getpid()) and not self.keeper.held()

    def hangs_on(self) -> bool:
        """Whether a thread that was told to end goes on, also after a moment."""
        ends_at = time.monotonic() + MOMENT_S
        while self.hanging() and time.monotonic() < ends_at:
            time.sleep(0.01)
        return self.hanging() > 0

    def hanging(self) -> int:
        """How many threads hang in this process that nobody waits for any more."""
        with self._counting:
            self._abandoned = [one for one in self._abandoned if one.is_abandoned]
            return len(self._abandoned)

    def should_be_replaced(self) -> bool:
        """Whether too many threads hang in this process; a whole worker has as many to spare for each of its slots."""
        cap, slots = self.settings.abandon_cap, self.runtime.slots_here()
        return self.hanging() >= cap * slots or len(self.stuck) >= min(cap, slots)

    def _look_at_hanging(self) -> None:
        replace = self.runtime.replace_main
        if self.runtime.is_main and replace is not None and self.should_be_replaced():
            replace(self.hanging() + len(self.stuck))


class Runtime:
    """What every task of ours refers to; hands each process its own :class:`Process`.

    Args:
        app: The Celery app.
        registry: What the project declares.
        settings: Called on first use, so that nothing is read at import.
        ledger_url: Likewise.
        hooks: Called with every event of this process.
    """

    def __init__(
        self,
        app: Celery,
        registry: Registry,
        *,
        settings: Callable[[], Settings],
        ledger_url: Callable[[], str],
        hooks: Sequence[Hook] = (),
    ) -> None:
        self.app = app
        self.registry = registry
        self.ledger_url = ledger_url
        self.hooks = tuple(hooks)
        self._settings = settings
        self._by_pid: dict[int, Process] = {}
        self.deaths: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.main_pid: int | None = None
        self.slots = 1
        """How much a worker runs at once in its main process, if its pool runs it there."""
        self.forks = False
        """Whether a worker's main process forks the others."""
        self.replace_main: Callable[[int], None] | None = None
        """Called with how many threads hang, when they are too many in a worker's main process."""
        self.stop_sweeping: Callable[[], None] = lambda: None
        self.worker_name = ""

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self._settings()

    @property
    def is_main(self) -> bool:
        """Whether this is a worker's main process."""
        return self.main_pid == os.getpid()

    def slots_here(self) -> int:
        """How much this process runs at once, not counting coroutines."""
        return self.slots if self.is_main else 1

    def here(self) -> Process:
        """This process's own parts; those inherited over a fork are another process's, and left alone."""
        pid = os.getpid()
        return self._by_pid.get(pid) or self._by_pid.setdefault(pid, Process(self))

    def forget(self) -> None:
        """Let this process build its parts anew, from changed settings."""
        self._by_pid.pop(os.getpid(), None)

    def existing(self) -> Process | None:
        """This process's own parts, if it has needed any."""
        return self._by_pid.get(os.getpid())
