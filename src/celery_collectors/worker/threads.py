"""Threads that run one call after another: to start one for each call takes longer than most ledger calls."""

from __future__ import annotations

import ctypes
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable

KEPT = 64


class Abandoned(SystemExit):
    """Raised in a thread that was left behind; threading ends it without a word."""


class Threads:
    """The threads of a process that run code with a time limit; not for use across a fork.

    Args:
        kept: How many wait for their next call at most; those that are one too many end with their call.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._idle: deque[Thread] = deque()

    def run(self, job: Callable[[], None], name: str) -> Thread:
        """Run a call in a thread that has nothing to do, or in a new one; it must not raise."""
        try:
            thread = self._idle.pop()
        except IndexError:
            thread = Thread(self._take_back)
        thread.run(job, name)
        return thread

    def _take_back(self, thread: Thread) -> bool:
        if len(self._idle) >= self._kept:
            return False
        self._idle.append(thread)
        return True


class Thread:
    """One of them. Once left behind it is never used again, and ends with the call that it is in.

    Args:
        take_back: Called after each call; says whether there will be another.
    """

    def __init__(self, take_back: Callable[[Thread], bool]) -> None:
        self._take_back = take_back
        self._calls: queue.SimpleQueue[tuple[Callable[[], None], str]] = queue.SimpleQueue()
        self._changing = threading.Lock()
        self._job: Callable[[], None] | None = None
        self._left = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], None], name: str) -> None:
        """Run this next; called by whoever has it to itself."""
        self._job = job
        self._calls.put((job, name))

    def leave(self, job: Callable[[], None], *, kill: bool) -> None:
        """Wait for a call no longer; that may be ended with an exception in the middle of its code."""
        with self._changing:
            if self._job is not job:
                return  # that has just ended; it runs something else by now, or will
            self._left = True
            if kill and self._thread.ident is not None:
                # Ends code that spins in Python; code that waits in C sees it when it comes back.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread.ident), ctypes.py_object(Abandoned)
                )

    @property
    def is_alive(self) -> bool:
        """Whether it is still there."""
        return self._thread.is_alive()

    def _work(self) -> None:
        goes_on = True
        while goes_on:
            goes_on = self._one()

    def _one(self) -> bool:
        job, self._thread.name = self._calls.get()
        job()
        with self._changing:
            self._job = None
            return not self._left and not is_marked() and self._take_back(self)


TELLS = sys.version_info < (3, 13)  # later versions keep a thread's own variables where nobody sees them

_own_variables = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThreadState_GetDict", ctypes.pythonapi))


def is_marked() -> bool:
    """Whether code may have left anything in this thread's own variables (``threading.local``).

    The next one would find it there, such as a session with a database whose connection is stale by then; and what
    frameworks do about that after every task, they do in the thread that called.
    """
    found = _own_variables()
    return not TELLS or bool(found and ctypes.cast(found, ctypes.py_object).value)
