"""A chord's result: read from the ledger, in the form of Celery's ``AsyncResult``."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, assert_will_not_block

from celery_collectors.collectors import Collectors
from celery_collectors.dispatch.results import celery_error, celery_state
from celery_collectors.errors import RequestUnknown, WaitTimeout
from celery_collectors.handle import Request
from celery_collectors.model import Report

UNKNOWN = "UNKNOWN"
"""The state of a chord that the ledger does not hold; Celery's PENDING would look like waiting."""


class ChordResult(AsyncResult):  # type: ignore[misc]
    """What :class:`chord` returns: an ``AsyncResult`` that knows who failed.

    It reads the ledger, and so knows the end of every chord, whatever died. An ordinary ``AsyncResult`` of the same
    id reads the same from the app's result backend, where the result is stored too, if there is one.

    Attributes:
        id: The request's id, or the ``task_id`` that was asked for.
        request_id: The request's id.
        request: Its handle.
    """

    def __init__(self, result_id: str, *, collectors: Collectors, request_id: str) -> None:
        super().__init__(result_id, app=collectors.app)
        self._cache: Any = None
        self.request_id = request_id
        self._collectors = collectors

    @property
    def request(self) -> Request:
        """The request's handle: events, items, cancel."""
        return Request(self.request_id, self._collectors.client)

    def report(self) -> Report:
        """Return every member's outcome as of now.

        Raises:
            RequestUnknown: when the ledger does not hold the request.
        """
        return self.request.report()

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        disable_sync_subtasks: bool = True,
        callback: Any = None,
        **_options: Any,
    ) -> Any:
        """Wait for the end, and return the callback's result.

        Args:
            timeout: Seconds to wait at most; by default until the end, which comes by deadline + ``finish``.
            propagate: Raise what went wrong, rather than return it.
            disable_sync_subtasks: As Celery has it: refuse to wait inside a task.
            callback: Called with id and result.

        Raises:
            ChordFailed: (a ``ChordError``) when the policy is not met; or what the callback raised.
            TaskRevokedError: when it was cancelled.
            celery.exceptions.TimeoutError: when the timeout is over; the chord goes on.
            RequestUnknown: when the ledger does not hold it.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        try:
            self.request.wait(timeout)
        except WaitTimeout as error:
            raise CeleryTimeoutError(str(error)) from error
        meta = self._get_task_meta()
        if propagate and meta["status"] in states.PROPAGATE_STATES:  # a callback may also return an exception
            raise meta["result"]
        if callback is not None:
            callback(self.id, meta["result"])
        return meta["result"]

    wait = get

    def revoke(self, *_args: Any, **_options: Any) -> None:
        """Cancel it: nothing of it starts any more, and what runs is ended where the pool can."""
        self.request.cancel("revoked")

    def forget(self) -> None:
        """Drop what is stored of it, here and in the result backend, if it has ended.

        While a link or the result is still on its way, it is kept, until ``result_ttl_s`` is over.
        """
        self._cache = None
        if self._collectors.client.ledger.forget(self.request_id):
            self.backend.forget(self.id)

    def _get_task_meta(self) -> dict[str, Any]:
        generation = self._collectors.client.ledger.generation(self.request_id)
        if self._cache and generation in (0, self._cache["generation"]):  # it has expired, or is as it was
            kept: dict[str, Any] = self._cache
            return kept
        found = self._meta()
        if found["status"] in states.READY_STATES:
            self._cache = found
        return found

    def _meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = {"task_id": self.id, "status": UNKNOWN, "result": None, "traceback": None}
        try:
            report = self.report()
        except RequestUnknown:
            return meta
        meta |= {"status": celery_state(report), "generation": report.generation}
        if meta["status"] == states.SUCCESS:
            return meta | {"result": self._collectors.client.reader.answer(report)}
        return meta | {"result": celery_error(report), "traceback": report.error.traceback if report.error else None}

    def __reduce__(self) -> Any:
        return _restored, (self.id, self._collectors.app, self.request_id)

    def __repr__(self) -> str:
        return f"<ChordResult: {self.id}>"


def _restored(result_id: str, app: Any, request_id: str) -> ChordResult:
    return ChordResult(result_id, collectors=Collectors.of(app), request_id=request_id)
