"""A chord's end as Celery knows it: a state, a value or an exception, and where its backend keeps them."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from celery import Celery, states
from celery.exceptions import ChordError, TaskRevokedError
from celery.utils.serialization import create_exception_cls

from celery_collectors.errors import CollectorsError
from celery_collectors.ledger import Order
from celery_collectors.ledger.reading import Reader
from celery_collectors.model import ErrorInfo, Report, RequestState

_STATES = {
    RequestState.COMPLETE: states.SUCCESS,
    RequestState.PARTIAL: states.SUCCESS,
    RequestState.FAILED: states.FAILURE,
    RequestState.CANCELLED: states.REVOKED,
    RequestState.COLLECTING: states.PENDING,
}


Answer = Callable[[], Any]


class ChordFailed(CollectorsError, ChordError):  # type: ignore[misc]
    """A chord's policy was not met; also what Celery's own chord raises when a member fails."""


def celery_state(report: Report) -> str:
    """A request's state in Celery's words."""
    return str(_STATES.get(report.state, states.STARTED))


def celery_error(report: Report) -> BaseException | None:
    """What stands in a failed or revoked chord's place of a value."""
    error = report.error
    if report.state is RequestState.CANCELLED:
        revoked: BaseException = TaskRevokedError(error.message if error else "cancelled")
        return revoked
    if report.state is not RequestState.FAILED:
        return None
    if error is None or error.type in ("PolicyNotMet", "Timeout", "Lost"):
        return ChordFailed(error.message if error else "failed")
    return _as_raised(error)


def _as_raised(error: ErrorInfo) -> BaseException:
    """The exception by its name: the built-in one, else one of that name, as Celery's own backends have it."""
    known = getattr(builtins, error.type, None)
    if isinstance(known, type) and issubclass(known, Exception):
        try:
            return known(error.message)
        except Exception:  # noqa: BLE001 - some want other arguments than a message
            return ChordFailed(f"{error.type}: {error.message}")
    made: BaseException = create_exception_cls(error.type, "celery_collectors")(error.message)
    return made


def store_result(app: Celery, reader: Reader, order: Order, answer: Answer | None = None) -> None:
    """Let Celery's result backend hold a chord's end, for whoever has only its id; storing it again changes nothing.

    If the chord is tried again, what is stored is the last end: a backend would rather keep a success for ever.

    Args:
        app, reader: What belongs to the app.
        order: Says under which id.
        answer: Tells what the chord came to, where that is at hand and can't change any more; else the ledger is asked.
    """
    if answer is not None:
        app.backend.store_result(order.name, answer(), states.SUCCESS)
        return
    stored = 0
    while (report := reader.report(order.request_id)).is_final and report.generation > stored:
        if report.generation > 1:
            app.backend.forget(order.name)
        error = celery_error(report)
        value: Any = error if error is not None else reader.answer(report)
        trace = report.error.traceback if report.error else None
        app.backend.store_result(order.name, value, celery_state(report), traceback=trace)
        stored = report.generation
