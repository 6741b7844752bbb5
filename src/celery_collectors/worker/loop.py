"""One event loop per process, on which coroutines of many requests share their time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

SETTLERS = 4  # threads that write to the ledger for the loop, which must never wait for it


class Loop:
    """Starts coroutines from other threads, ``cap`` of them at a time.

    Its thread is a daemon's: the loop ends with the process, which hands its leases back first.

    Args:
        cap: How many at once; whoever wants to start one more waits, and so leaves it to other workers.
    """

    def __init__(self, cap: int) -> None:
        self._slots = threading.BoundedSemaphore(cap)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settlers = ThreadPoolExecutor(SETTLERS, "collectors-settler")

    @contextmanager
    def slot(self) -> Iterator[Callable[[Coroutine[Any, Any, Any]], None]]:
        """Wait for room; yields a function that starts a coroutine in it. Unused room is given back."""
        self._slots.acquire()
        started = False

        def start(coroutine: Coroutine[Any, Any, Any]) -> None:
            nonlocal started
            started = True
            asyncio.run_coroutine_threadsafe(self._in_slot(coroutine), self._running())

        try:
            yield start
        finally:
            if not started:
                self._slots.release()

    def call_soon(self, function: Callable[[], Any]) -> None:
        """Run a plain function on the loop, without waiting for it."""
        self._running().call_soon_threadsafe(function)

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        """Run a blocking call beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._settlers, function)

    async def _in_slot(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            await coroutine
        finally:
            self._slots.release()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="collectors-loop", daemon=True).start()
            return self._loop
