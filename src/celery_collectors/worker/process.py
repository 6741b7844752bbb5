"""What one process needs to execute runs: its connections, its keeper, its loop, its name.

Built lazily and once per process, after the fork; nothing here exists in a process that executes nothing.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from celery import Celery

from celery_collectors.calls import accepted
from celery_collectors.dispatch import Dispatcher, Teller
from celery_collectors.errors import UnavailableError
from celery_collectors.events import Event, Hook
from celery_collectors.ledger import Ledger, Order
from celery_collectors.ledger.reading import Reader
from celery_collectors.payloads import PayloadStore
from celery_collectors.registry import Registry
from celery_collectors.settings import Settings
from celery_collectors.worker.keeper import Keeper
from celery_collectors.worker.loop import Loop

log = logging.getLogger(__name__)

WORKER_PATIENCE_S = 60.0


class Process:
    """One worker process's own parts."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.settings = runtime.settings
        self.registry = runtime.registry
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self.owner = f"{self.worker}:{uuid.uuid4().hex[:12]}"
        self.abandoned: list[Any] = []
        self._readers: deque[Reader] = deque()

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger; patient, because a worker has nothing better to do while it is away."""
        return Ledger.from_url(self.runtime.ledger_url(), self.settings, patience_s=WORKER_PATIENCE_S)

    @cached_property
    def store(self) -> PayloadStore:
        """The payload store."""
        return PayloadStore.of(self.ledger.client, self.settings)

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
        store = PayloadStore.of(ledger.client, self.settings)
        return Reader(ledger, store, accepted(self.runtime.app))

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
    def keeper(self) -> Keeper:
        """Keeps this process's leases."""
        return Keeper(self.ledger, self.owner, self.settings.renew_s)

    @cached_property
    def loop(self) -> Loop:
        """Runs coroutines."""
        return Loop(self.settings.async_cap)

    def who(self) -> dict[str, Any]:
        """A fresh claim to a lease for this process."""
        return self.ledger.who(self.owner, self.worker, uuid.uuid4().hex)

    def publish(self, orders: Sequence[Order]) -> None:
        """Publish; what can't be published now is handed out again by the ledger."""
        if not orders:
            return
        try:
            self.dispatcher.send(orders)
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
        """Remember a call whose thread may hang on; return how many still do."""
        self.abandoned = [one for one in (*self.abandoned, call) if one.is_abandoned]
        return len(self.abandoned)

    def should_be_replaced(self) -> bool:
        """Whether this is a pool child with too many hanging threads; Celery starts another in its place."""
        main_pid = self.runtime.main_pid
        return main_pid not in (None, os.getpid()) and len(self.abandoned) >= self.settings.abandon_cap


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
        self.worker_name = ""

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self._settings()

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
