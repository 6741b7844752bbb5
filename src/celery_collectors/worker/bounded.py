"""Run code for at most so long: in a helper thread that is left behind when its time is up.

The same in every pool, where Celery's own limits do nothing (threads) or strike with a signal that may
hit a Redis reply half way (prefork). The helper thread runs only the user's code and its encoding;
whatever it produces is handed over in chunks, so that ledger and payloads are written by the caller.
"""

from __future__ import annotations

import contextvars
import os
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Generic, TypeVar

from celery_collectors.errors import Stopped, TimedOut
from celery_collectors.worker.threads import Abandoned, Thread, Threads

CHUNKS_AHEAD = 4
POLL_S = 0.2
LET_END_S = 0.01

T = TypeVar("T")
Within = Callable[[], AbstractContextManager[None]]
"""What a helper thread enters before the user's code, and leaves after it."""


class Bounded(Generic[T]):
    """A call in a helper thread.

    Args:
        produce: Yields what is to be handed over; runs in the helper thread, in a copy of the caller's context.
        name: The thread's name.
        kill: Whether a thread left behind may be ended with an exception in the middle of its code.
    """

    def __init__(self, produce: Callable[[], Iterator[T]], name: str, *, kill: bool = True) -> None:
        self._produce = produce
        self._name = name
        self._kill = kill
        self._handed: queue.SimpleQueue[T | BaseException | None] = queue.SimpleQueue()
        self._taken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ahead = CHUNKS_AHEAD
        self._stopped: str | None = None
        self._limit_s = self._ends_at = 0.0
        self._left = self._ended = False
        self._thread: Thread | None = None
        self._pid = os.getpid()
        self.run_s = 0.0
        """How long the code itself has run, once it has ended."""
        self.raised: BaseException | None = None
        """What the code itself raised, so that it is not taken for what struck the thread that waits for it."""
        self._job = partial(contextvars.copy_context().run, self._run)

    def chunks(self, ends_in_s: float, threads: Threads) -> Iterator[T]:
        """Start the call in one of these threads, and yield what it produces.

        Raises:
            TimedOut: when it has not ended within ``ends_in_s`` seconds; its thread is left behind.
            Stopped: when :meth:`stop` was called; likewise.
            BaseException: what the code itself raised.
        """
        self._limit_s, self._ends_at = ends_in_s, time.monotonic() + ends_in_s
        self._thread = self._start(threads)
        try:
            while (handed := self._next()) is not None:
                if isinstance(handed, BaseException):
                    raise handed
                yield handed
                self._taken.put(None)
        finally:
            self._leave()

    def _start(self, threads: Threads) -> Thread:
        """A process that is out of memory or threads waits for a moment: that is not the code's failure."""
        while True:
            try:
                return threads.run(self._job, self._name)
            except RuntimeError:
                if time.monotonic() + POLL_S >= self._ends_at:
                    raise
            time.sleep(POLL_S)

    def _next(self) -> T | BaseException | None:
        while True:
            if self._stopped is not None:
                raise Stopped(self._stopped)
            remaining_s = self._remaining_s()
            if remaining_s <= 0:
                raise TimedOut(f"did not end within its {self._limit_s:.1f} s")
            try:
                return self._handed.get(timeout=min(remaining_s, POLL_S))
            except queue.Empty:
                continue

    def _remaining_s(self) -> float:
        """How long it may still take; asked several times a second, in the thread that waits."""
        return self._ends_at - time.monotonic()

    def stop(self, reason: str) -> None:
        """End the waiting from another thread, within a fraction of a second."""
        self._stopped = reason

    @property
    def is_abandoned(self) -> bool:
        """Whether the helper thread is still there although nobody waits for it."""
        return self._left and not self._ended and self._thread is not None and self._thread.is_alive

    def _run(self) -> None:
        began_at = time.monotonic()
        try:
            for chunk in self._produce():
                self._hand(chunk)
                if self._left:
                    break  # which closes the generator: nobody takes what it would go on producing
            self.run_s = time.monotonic() - began_at
            self._end(None)
        except BaseException as error:  # noqa: BLE001 - the collector's boundary: whatever it raises is its outcome
            if not isinstance(error, Abandoned):
                self.raised = error
            self._end(error)
        finally:
            self._ended = True

    def _hand(self, chunk: T) -> None:
        self._check_process(0)
        while not self._left:
            try:
                if self._ahead:
                    self._ahead -= 1
                else:
                    self._taken.get(timeout=POLL_S)
            except queue.Empty:
                continue
            self._handed.put(chunk)
            return

    def _check_process(self, exit_code: int) -> None:
        if os.getpid() != self._pid:  # the code has forked, and this copy of the process has nobody to hand it to
            os._exit(exit_code)

    def _end(self, how: BaseException | None) -> None:
        self._check_process(isinstance(how, BaseException))
        self._ended = True  # before anybody can look
        self._handed.put(how)

    def _leave(self) -> None:
        self._left = True
        if self._thread is None or self._ended:
            return
        with suppress(queue.Empty):  # what is about to end should not count as left behind
            while not self._ended:
                self._handed.get(timeout=LET_END_S)
        if not self._ended:
            self._thread.leave(self._job, kill=self._kill)
