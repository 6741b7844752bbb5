"""The handle of one request: wait for it, look at it, follow it, cancel it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from celery_collectors.client import Client
from celery_collectors.errors import RequestUnknown, WaitTimeout
from celery_collectors.events import Event
from celery_collectors.model import REQUEST_ENDED, Report, RequestState

BLOCK_S = 1.0


class Request:
    """One question put to a set of subcollectors.

    Made by :meth:`Collectors.request` and :meth:`Collectors.get`, in any process that reaches the ledger.

    Attributes:
        id: The request's UUID.
    """

    def __init__(self, request_id: str, client: Client) -> None:
        self.id = request_id
        self._client = client
        self._ledger = client.ledger
        self._reader = client.reader

    def __repr__(self) -> str:
        return f"<Request {self.id}>"

    def wait(self, timeout: float | None = None) -> Report:
        """Wait until the request is final, and return its report.

        Needs no worker to come to an end: past the deadline the waiter itself lets the ledger end it.

        Args:
            timeout: Seconds to wait at most; by default until the request ends, which it does by
                deadline + ``finish_s``.

        Raises:
            WaitTimeout: when the timeout is over; the request goes on.
            RequestUnknown: when the ledger does not hold it.
            LedgerUnavailable: when the ledger does not answer.
        """
        ends_at = None if timeout is None else time.monotonic() + timeout
        with self._reader.end_of(self.id) as wait_for_end:
            while not self._is_over():
                wait_for_end(self._block_s(ends_at, timeout))
        return self.report()

    def _block_s(self, ends_at: float | None, timeout: float | None) -> float:
        left_s = BLOCK_S if ends_at is None else ends_at - time.monotonic()
        if left_s <= 0:
            raise WaitTimeout(f"request {self.id} is still {self.state} after {timeout} s; it goes on")
        return min(BLOCK_S, left_s)

    def report(self) -> Report:
        """Return the report as of now.

        Raises:
            RequestUnknown: when the ledger does not hold it.
        """
        return self._reader.report(self.id)

    @property
    def state(self) -> RequestState:
        """The request's state as of now; ``unknown`` when the ledger does not hold it."""
        return self._ledger.state(self.id)

    def events(self, after: str = "0", timeout: float | None = None) -> Iterator[Event]:
        """Yield what happened and what happens, until the request is final.

        Args:
            after: An event's ``id`` to go on from; by default from the beginning.
            timeout: Seconds to follow at most.

        Raises:
            WaitTimeout: when the timeout is over before the request is final.
            RequestUnknown: when the ledger does not hold the request.
        """
        ends_at = None if timeout is None else time.monotonic() + timeout
        while True:
            found = self._reader.events(self.id, after, block_s=self._block_s(ends_at, timeout))
            for event in found:
                after = event.id
                yield event
                if event.subject == "request" and event.state in REQUEST_ENDED:
                    return
            if not found and self._is_over():
                return

    def _is_over(self) -> bool:
        state = self.state
        if state is RequestState.UNKNOWN:
            raise RequestUnknown(self.id)
        if state in REQUEST_ENDED:
            return True
        self._client.publish(self._ledger.end_if_over(self.id).orders)
        return False

    def items(self) -> Iterator[Any]:
        """Yield the request's items: cleaned if there is a cleanup stage, else as they were collected.

        Raises:
            RequestUnknown: when the ledger does not hold the request.
            PayloadError: when stored items are damaged or gone.
        """
        if self.state is RequestState.UNKNOWN:
            raise RequestUnknown(self.id)
        return self._reader.items_before(self.id, "process")

    def cancel(self, reason: str | None = None, *, by: str | None = None) -> RequestState:
        """End the request; once this returns, nothing of it starts any more.

        Args:
            reason: Why, for the report.
            by: Who, for the report.

        Returns:
            The state it is in now: ``cancelled``, or the final state that it was in already.

        Raises:
            RequestUnknown: when the ledger does not hold it.
        """
        reply = self._ledger.cancel(self.id, reason=reason, by=by)
        if reply.state == RequestState.UNKNOWN:
            raise RequestUnknown(self.id)
        self._client.publish(reply.orders)
        return RequestState(reply.state)
