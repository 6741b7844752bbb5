"""Settles what ends on the event loop: beside it, and together what has ended together.

Coroutines that were started together often end together. Their settling is one call to the ledger then, and while that
is under way, those that end meanwhile gather for the next.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import NamedTuple

from celery_collectors.ledger import Grant
from celery_collectors.worker.attempt import Attempt

PAUSE_S = 0.2
AT_ONCE = 100  # of one request in one call: no script should keep the ledger's server for long

log = logging.getLogger(__name__)


class Ended(NamedTuple):
    """A run that has ended on the loop, and what waits for it to be settled."""

    grant: Grant
    conclude: Callable[[], Attempt]
    settled: asyncio.Future[None]


class Settler:
    """One batch after another, in a thread of an executor.

    Args:
        settle: Settles several attempts of one request.
        drop: Lets leases go of what could not be settled.
        executor: Whose threads may wait for the ledger.
    """

    def __init__(
        self,
        settle: Callable[[Sequence[tuple[Grant, Attempt]]], object],
        drop: Callable[..., None],
        executor: Executor,
    ) -> None:
        self._settle = settle
        self._drop = drop
        self._executor = executor
        self._waiting: list[Ended] = []
        self._changing = threading.Lock()
        self._is_busy = False

    async def settle(self, grant: Grant, conclude: Callable[[], Attempt]) -> None:
        """Settle a run, and return when that is done, or has failed: then its lease lapses.

        Args:
            grant: The run's.
            conclude: Stores what is left to store, and says how the attempt ended; called beside the loop.
        """
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._changing:
            self._waiting.append(Ended(grant, conclude, settled))
            begins, self._is_busy = not self._is_busy, True
        if begins:
            self._begin()
        await settled

    def _begin(self) -> None:
        try:
            self._executor.submit(self._work)
        except RuntimeError as error:  # no thread to be had
            log.warning("what has ended is settled a moment later: %s", error)
            asyncio.get_running_loop().call_later(PAUSE_S, self._begin)

    def _work(self) -> None:
        while batch := self._next():
            by_request: dict[str, list[Ended]] = defaultdict(list)
            for one in batch:
                by_request[one.grant.request_id].append(one)
            for ended in by_request.values():
                for start in range(0, len(ended), AT_ONCE):
                    self._settle_some(ended[start : start + AT_ONCE])

    def _next(self) -> list[Ended]:
        with self._changing:
            batch, self._waiting = self._waiting, []
            self._is_busy = bool(batch)
        return batch

    def _settle_some(self, ended: Sequence[Ended]) -> None:
        concluded = [(one.grant, attempt) for one in ended if (attempt := self._concluded(one)) is not None]
        try:
            if concluded:
                self._settle(concluded)
        except BaseException as error:  # noqa: BLE001 - those that end next must be settled, whatever it was
            self._give_up([grant for grant, _ in concluded], error)
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
        for one in ended:
            by_loop[one.settled.get_loop()].append(one.settled)
        for loop, settled in by_loop.items():
            with suppress(RuntimeError):  # that loop was left, and has ended since
                loop.call_soon_threadsafe(_release, settled)

    def _concluded(self, one: Ended) -> Attempt | None:
        try:
            return one.conclude()
        except BaseException as error:  # noqa: BLE001 - likewise; and its neighbours have done nothing wrong
            self._give_up([one.grant], error)
            return None

    def _give_up(self, grants: Sequence[Grant], error: BaseException) -> None:
        self._drop(*(grant.held for grant in grants))
        log.warning("%d runs could not be settled; their leases will lapse instead: %r", len(grants), error)


def _release(settled: Sequence[asyncio.Future[None]]) -> None:
    for one in settled:
        if not one.done():
            one.set_result(None)
