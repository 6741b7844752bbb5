"""One event loop per process, on which coroutines of many requests share their time.

A coroutine that waits without ``await`` keeps the loop from turning, and no time limit inside it can strike. Such a
loop is a hung thread: it is left to the one that blocks it, which is timed out from outside when its time is over, and
the others are handed back, to be run again on the loop that takes its place or elsewhere.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

from celery_collectors.worker.threads import Abandoned

SETTLERS = 4  # threads that write to the ledger for the loop, which must never wait for it
TICK_S = 0.5
BLOCKED_TICKS = 10  # in a row with the same coroutine on: 5 s, and of this process's own life, should it be suspended
OVERDUE_TICKS = 2  # the same, for one whose time is over

log = logging.getLogger(__name__)


class Guest(Protocol):
    """A run as a coroutine."""

    ends_at: float
    """When its time is over, as :func:`time.monotonic` counts."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Run to the end, and settle."""

    def hand_back(self) -> None:
        """Stop it, and give its run back to the ledger; called beside the loop."""

    def time_out(self) -> None:
        """Stop it, and settle it as timed out; called beside the loop."""


class Loop:
    """Starts coroutines from other threads, ``cap`` of them at a time.

    Its thread is a daemon's: the loop ends with the process, which hands its leases back first.

    Args:
        cap: How many at once; whoever wants to start one more waits, and so leaves it to other workers.
        on_left: Called with a turning that is left behind blocked; its ``is_abandoned`` says for how long.
    """

    def __init__(self, cap: int, on_left: Callable[[Any], Any]) -> None:
        self._slots = threading.BoundedSemaphore(cap)
        self._lock = threading.Lock()
        self._turning: Turning | None = None
        self._on_left = on_left
        self.settlers = ThreadPoolExecutor(SETTLERS, "collectors-settler")
        """Threads that may wait for the ledger."""

    @contextmanager
    def slots(self, most: int) -> Iterator[tuple[int, Callable[[Guest], None]]]:
        """Wait for room for one at least.

        Args:
            most: How many are wanted.

        Yields:
            For how many there is room, and a function that starts a guest in it. Unused room is given back.
        """
        unused = self._take(most)

        def start(guest: Guest) -> None:
            nonlocal unused
            with self._lock:
                if self._turning is None:
                    self._turning = Turning(self._slots.release)
                    threading.Thread(
                        target=self._watch, args=(self._turning,), name="collectors-loop-watch", daemon=True
                    ).start()
                self._turning.start(guest)
            unused -= 1

        try:
            yield unused, start
        finally:
            if unused:
                self._slots.release(unused)

    def _take(self, most: int) -> int:
        self._slots.acquire()
        taken = 1
        while taken < most and self._slots.acquire(blocking=False):
            taken += 1
        return taken

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        """Run a blocking call beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self.settlers, function)

    def _watch(self, turning: Turning) -> None:
        """See that a loop turns; once it does not, leave it, and see to the end of who blocks it."""
        pause = threading.Event()
        while not turning.is_blocked():
            pause.wait(TICK_S)
        with self._lock:
            self._turning = None
        blocking = turning.leave()
        log.error(
            "the event loop does not turn, because %s waits or computes without await: it is left to that, and its %d "
            "neighbours are run again. Declare that collector with def, or await what it waits for",
            blocking or "something",
            len(turning.guests) - bool(blocking),
        )
        for guest in turning.others():
            self.settlers.submit(_logged, guest.hand_back)
        self._on_left(turning)
        while blocking is not None and turning.is_on(blocking):
            if time.monotonic() >= blocking.ends_at:
                _logged(blocking.time_out)  # first: what it raises when it is struck comes too late
                turning.strike(blocking)
                return
            pause.wait(TICK_S)


def _logged(function: Callable[[], None]) -> None:
    try:
        function()
    except Exception as error:  # noqa: BLE001 - the lease lapses instead
        log.warning("a run on a blocked loop could not be settled; its lease will lapse instead: %s", error)


class Turning:
    """An event loop in a thread of its own, and the guests on it.

    Args:
        on_end: Called whenever a guest has ended or the loop is left, once for each guest.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._loop = asyncio.new_event_loop()
        self._changing = threading.Lock()
        self._tasks: dict[Guest, asyncio.Task[Any] | None] = {}
        self._blocking: Guest | None = None
        self._left = False
        self._answered = True
        self._seen: Any = None
        self._ticks = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="collectors-loop", daemon=True)
        self._thread.start()

    @property
    def guests(self) -> list[Guest]:
        """Those that have not ended."""
        with self._changing:
            return list(self._tasks)

    @property
    def is_abandoned(self) -> bool:
        """Whether its thread is still there although it was left."""
        return self._left and self._thread.is_alive()

    def start(self, guest: Guest) -> None:
        """Start a guest."""
        with self._changing:
            self._tasks[guest] = None
        asyncio.run_coroutine_threadsafe(self._host(guest), self._loop)

    async def _host(self, guest: Guest) -> None:
        with self._changing:
            self._tasks[guest] = asyncio.current_task()
        try:
            await guest.run()
        finally:
            self._ended(guest)

    def _ended(self, guest: Guest) -> None:
        with self._changing:
            self._tasks.pop(guest, None)
            if not self._left:
                self._on_end()
            elif not self._tasks:
                self._loop.stop()

    def is_blocked(self) -> bool:
        """Whether it did not turn for a while with the same coroutine on; to be asked every ``TICK_S``."""
        task = asyncio.current_task(self._loop)
        self._ticks = 0 if self._answered or task is not self._seen else self._ticks + 1
        self._seen = task
        if self._answered:
            self._answered = False
            self._loop.call_soon_threadsafe(self._answer)
        guest = self._on(task)
        is_overdue = guest is not None and time.monotonic() >= guest.ends_at
        return self._ticks >= (OVERDUE_TICKS if is_overdue else BLOCKED_TICKS)

    def _answer(self) -> None:
        self._answered = True

    def _on(self, task: Any) -> Guest | None:
        with self._changing:
            return next((guest for guest, its in self._tasks.items() if its is not None and its is task), None)

    def is_on(self, guest: Guest) -> bool:
        """Whether it is this guest that the loop executes now."""
        return self._on(asyncio.current_task(self._loop)) is guest

    def leave(self) -> Guest | None:
        """Let no one else start here, and return who blocks it, if that is a guest; their slots are given back."""
        self._blocking = self._on(asyncio.current_task(self._loop))
        self._loop.set_exception_handler(lambda _loop, _context: None)  # tasks that nobody ends are no news then
        with self._changing:
            self._left = True
            for _ in self._tasks:
                self._on_end()
        return self._blocking

    def others(self) -> list[Guest]:
        """All but the one that blocks it."""
        return [guest for guest in self.guests if guest is not self._blocking]

    def strike(self, guest: Guest) -> None:
        """End code that computes in Python; code that waits in C sees it when it comes back.

        Unless it has ended by itself, and perhaps its thread: another thread may have got that one's ident since.
        """
        if self._thread.ident is not None and self.is_on(guest):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(Abandoned))
