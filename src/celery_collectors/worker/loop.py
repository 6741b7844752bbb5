"""One event loop per process, on which coroutines of many requests share their time."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

SETTLERS = 8  # threads that write to the ledger for the loop, which must never wait for it


class Loop:
    """Starts coroutines from other threads, ``cap`` of them at a time.

    Args:
        cap: How many at once; whoever wants to start one more waits, and so leaves it to other workers.
    """

    def __init__(self, cap: int) -> None:
        self._slots = threading.BoundedSemaphore(cap)
        self._lock = threading.Lock()
        self._entered = ExitStack()  # never closed: it ends with the process, which hands its leases back first
        self._portal: BlockingPortal | None = None
        self._limiter: anyio.CapacityLimiter | None = None

    @contextmanager
    def slot(self) -> Iterator[Callable[..., None]]:
        """Wait for room; yields a function that starts a coroutine in it. Unused room is given back."""
        self._slots.acquire()
        started = False

        def start(function: Callable[..., Awaitable[Any]], *args: Any) -> None:
            nonlocal started
            self._running().start_task_soon(function, *args).add_done_callback(self._free)
            started = True

        try:
            yield start
        finally:
            if not started:
                self._slots.release()

    def call_soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a plain function on the loop, without waiting for it."""
        self._running().start_task_soon(function, *args)

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        """Run a blocking call beside the loop; it is finished even when the caller is cancelled."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(SETTLERS)
        return await anyio.to_thread.run_sync(function, limiter=self._limiter)

    def _free(self, _: Any) -> None:
        self._slots.release()

    def _running(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                self._portal = self._entered.enter_context(start_blocking_portal(name="collectors-loop"))
            return self._portal
