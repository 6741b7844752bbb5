"""What a row of a request's table opens: one run or stage, with all that is known of it."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from celery_collectors.errors import PayloadError, PayloadsUnavailable
from celery_collectors.handle import Request
from celery_collectors.ledger.asked import Asked
from celery_collectors.model import RUN_ANSWERED, Outcome, Report
from celery_collectors.web.flower import Flower


def look_at(request: Request, ref: str, flower: Flower | None) -> dict[str, Any]:
    """What is shown of one run or stage.

    Args:
        request: Whose it is.
        ref: A run's place in the order asked, or a stage's word.
        flower: Where Flower is, if there is one.

    Raises:
        HTTPException: 404, when there is none.
    """
    question, report = request.asked(), request.report()
    asked = next((one for one in question.rows if one.ref == ref), None)
    outcome = None if asked is None else _outcome(report, asked)
    if asked is None or outcome is None:
        raise HTTPException(404, f"request {request.id} has no row {ref!r}, or has not come to it yet")
    items, trouble = _items(request, asked, outcome)
    return {
        "report": report,
        "question": question,
        "asked": asked,
        "one": outcome,
        "name": asked.name if ref.isdigit() else ref,
        "arguments": request.arguments(ref) if asked.call else None,
        "items": items,
        "trouble": trouble,
        "task": flower.run(request.id, asked) if flower else None,
    }


def _outcome(report: Report, asked: Asked) -> Outcome | None:
    return report.outcomes.get(asked.name) if asked.ref.isdigit() else report.stages.get(asked.ref)


def _items(request: Request, asked: Asked, outcome: Outcome) -> tuple[list[Any], str]:
    """The first items, and why there are none to be seen."""
    if not asked.ref.isdigit() or outcome.state not in RUN_ANSWERED or not outcome.items:
        return [], ""
    try:
        items = request.first_items(asked.ref)
    except (PayloadError, PayloadsUnavailable) as error:
        return [], str(error)
    return ([], "What it found is too large to be shown here.") if items is None else (items, "")
