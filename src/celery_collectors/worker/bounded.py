"""Run code for at most so long: in a helper thread that is left behind when its time is up.

The same in every pool, where Celery's own limits do nothing (threads) or strike with a signal that may
hit a Redis reply half way (prefork). The helper thread runs only the user's code and its encoding;
whatever it produces is handed over in chunks, so that ledger and payloads are written by the caller.
"""

from __future__ import annotations

import contextvars
import ctypes
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from celery_collectors.errors import Stopped, TimedOut
from celery_collectors.payloads.codec import Chunk

CHUNKS_AHEAD = 4
POLL_S = 0.2

Within = Callable[[], AbstractContextManager[None]]
"""What a helper thread enters before the user's code, and leaves after it."""


class Abandoned(SystemExit):
    """Raised in a helper thread that nobody waits for any more; threading ends it without a word."""


class Bounded:
    """A call in a helper thread.

    Args:
        produce: Yields chunks; runs in the helper thread, in a copy of the caller's context.
        name: The thread's name.
        kill: Whether a thread left behind may be ended with an exception in the middle of its code.
    """

    def __init__(self, produce: Callable[[], Iterator[Chunk]], name: str, *, kill: bool = True) -> None:
        self._produce = produce
        self._kill = kill
        self._handed: queue.Queue[Chunk | BaseException | None] = queue.Queue(CHUNKS_AHEAD)
        self._stopped: str | None = None
        self._left = False
        self._pid = os.getpid()
        self.raised: BaseException | None = None
        """What the code itself raised, so that it is not taken for what struck the thread that waits for it."""
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True)

    def chunks(self, ends_in_s: float) -> Iterator[Chunk]:
        """Start the call and yield what it produces.

        Raises:
            TimedOut: when it has not ended within ``ends_in_s`` seconds; its thread is left behind.
            Stopped: when :meth:`stop` was called; likewise.
            BaseException: what the code itself raised.
        """
        ends_at = time.monotonic() + ends_in_s
        self._start(ends_at)
        try:
            while (handed := self._next(ends_at, ends_in_s)) is not None:
                if isinstance(handed, BaseException):
                    raise handed
                yield handed
        finally:
            self._leave()

    def _start(self, ends_at: float) -> None:
        """A process that is out of memory or threads waits for a moment: that is not the code's failure."""
        while True:
            try:
                return self._thread.start()
            except RuntimeError:
                if time.monotonic() + POLL_S >= ends_at:
                    raise
            time.sleep(POLL_S)

    def _next(self, ends_at: float, ends_in_s: float) -> Chunk | BaseException | None:
        while True:
            if self._stopped is not None:
                raise Stopped(self._stopped)
            remaining = ends_at - time.monotonic()
            if remaining <= 0:
                raise TimedOut(f"did not end within its {ends_in_s:.1f} s")
            try:
                return self._handed.get(timeout=min(remaining, POLL_S))
            except queue.Empty:
                continue

    def stop(self, reason: str) -> None:
        """End the waiting from another thread, within a fraction of a second."""
        self._stopped = reason

    @property
    def is_abandoned(self) -> bool:
        """Whether the helper thread is still there although nobody waits for it."""
        return self._left and self._thread.is_alive()

    def _run(self) -> None:
        try:
            for chunk in self._produce():
                self._hand(chunk)
                if self._left:
                    return  # which closes the generator: nobody takes what it would go on producing
            self._hand(None)
        except Abandoned:
            return
        except BaseException as error:  # noqa: BLE001 - the collector's boundary: whatever it raises is its outcome
            self.raised = error
            self._hand(error)

    def _hand(self, what: Chunk | BaseException | None) -> None:
        if os.getpid() != self._pid:  # the code has forked, and this copy of the process has nobody to hand it to
            os._exit(isinstance(what, BaseException))
        while not self._left:
            try:
                self._handed.put(what, timeout=POLL_S)
                return
            except queue.Full:
                continue

    def _leave(self) -> None:
        self._left = True
        self._thread.join(0.01)  # what has just ended should not count as left behind
        if self._kill and self._thread.is_alive() and self._thread.ident is not None:
            # Ends code that spins in Python; code that waits in C sees it when it comes back.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(Abandoned))
