"""An earlier generation of a request, as its events tell of it: the ledger's records are of the present one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from celery_collectors.events import Event
from celery_collectors.model import REQUEST_ENDED, Outcome, Report, RequestState, RunState, at
from celery_collectors.web.timeline import by_name


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an earlier generation.

    Attributes:
        report: As it was at its end; stages have the names of their functions, and there is no deadline and no result.
        is_whole: Whether its events are kept from its beginning.
    """

    report: Report
    is_whole: bool


def past(report: Report, events: Sequence[Event], generation: int) -> Past | None:
    """An earlier generation; ``None`` where there was none, or nothing is kept of it.

    Args:
        report: The request's, as it is now.
        events: What has happened to it, all generations.
        generation: Which.
    """
    own = [event for event in events if event.generation == generation]
    if not own or not 1 <= generation < report.generation:
        return None
    until = by_name(event for event in events if event.generation <= generation)
    told = [event for event in own if event.subject == "request" and event.state]
    last = told[-1] if told else None
    is_final = last is not None and last.state in REQUEST_ENDED
    return Past(
        is_whole=own[0].subject == "request" and own[0].state == RequestState.COLLECTING,
        report=Report(
            request_id=report.request_id,
            topic=report.topic,
            state=RequestState(last.state) if last else RequestState.UNKNOWN,
            generation=generation,
            created_at=at(own[0].at_ms),
            finished_at=at(last.at_ms) if last and is_final else None,
            outcomes={name: _outcome(until.get(("run", name))) for name in report.outcomes},
            stages={name: _outcome(heard) for (subject, name), heard in by_name(own).items() if subject == "stage"},
            error=last.error if last else None,
        ),
    )


def _outcome(heard: Sequence[Event] | None) -> Outcome:
    """How it stood after these events; what has none had not begun."""
    if not heard:
        return Outcome(state=RunState.QUEUED)
    last = heard[-1]
    return Outcome(state=RunState(last.state), attempts=last.attempt, items=last.items, error=last.error)
