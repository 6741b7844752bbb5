"""What happened to each run and stage, as bars on one scale of time. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from celery_collectors.events import Event
from celery_collectors.model import RUN_ENDED, STAGES, Outcome, Report

WIDTH = 1000.0
AGAIN = frozenset({"retrying", "queued"})


class Bar(msgspec.Struct, frozen=True):
    """A stretch of time in one state, in thousandths of the whole."""

    state: str
    x: float
    width: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One run or stage."""

    name: str
    state: str
    bars: tuple[Bar, ...]
    said: str


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """All rows, when the whole began and how long it is, and where deadline and now are, if they are on it."""

    rows: tuple[Row, ...]
    began_ms: float
    whole_s: float
    deadline_x: float | None
    now_x: float | None


def draw(report: Report, events: Sequence[Event], now_ms: float) -> Timeline:
    """Draw the generation that a report is of.

    Args:
        report: The request's.
        events: What has happened to it, all generations.
        now_ms: The time now, as the ledger counts.
    """
    own = [event for event in events if event.generation == report.generation]
    told = by_name(own)
    began_ms = float(own[0].at_ms) if own else _ms(report.created_at, now_ms)
    ends_ms = max([float(event.at_ms) for event in own] or [began_ms]) if report.is_final else now_ms
    deadline_ms = _ms(report.deadline_at, ends_ms)
    last_ms = max(ends_ms if report.is_final else max(ends_ms, deadline_ms), began_ms + 1)
    scale = WIDTH / (last_ms - began_ms)

    def x(at_ms: float) -> float:
        return round(max(0.0, min(WIDTH, (at_ms - began_ms) * scale)), 1)

    # A stage's events have the name of its function; they come in the stages' order.
    named = dict(zip(report.stages, dict.fromkeys(e.name for e in own if e.subject == "stage"), strict=False))
    entered_ms = {event.state: float(event.at_ms) for event in own if event.subject == "request"}

    def rows(subject: str, outcomes: dict[str, Outcome]) -> Iterable[Row]:
        for name, outcome in outcomes.items():
            word = name if subject == "run" else named.get(name, "")
            heard = told.get((subject, word), [])
            is_kept = not heard and outcome.state in RUN_ENDED  # from an earlier generation
            due_ms = began_ms if subject == "run" else entered_ms.get(STAGES.get(name, ""))
            stretches = list(_stretches(heard, None if is_kept else due_ms, ends_ms))
            bars = tuple(Bar(state, x(a), max(round(x(b) - x(a), 1), 2.0)) for state, a, b in stretches)
            said = ", ".join(f"{state} {(b - a) / 1000:.2f} s" for state, a, b in stretches) or "kept"
            yield Row(name=name, state=str(outcome.state), bars=bars, said=f"{name}: {said}; {outcome.state}")

    return Timeline(
        rows=(*rows("run", report.outcomes), *rows("stage", report.stages)),
        began_ms=began_ms,
        whole_s=(last_ms - began_ms) / 1000,
        deadline_x=x(deadline_ms) if report.deadline_at and deadline_ms <= last_ms else None,
        now_x=None if report.is_final else x(now_ms),
    )


def by_name(events: Iterable[Event]) -> Mapping[tuple[str, str], Sequence[Event]]:
    """What has happened to each run and stage, by its subject and name."""
    found = defaultdict[tuple[str, str], list[Event]](list)
    for event in events:
        found[event.subject, event.name].append(event)
    return found


def _stretches(heard: Sequence[Event], began_ms: float | None, ends_ms: float) -> Iterable[tuple[str, float, float]]:
    """Each state with its beginning and end; an attempt that ran has the state that it ended in."""
    if not heard and began_ms is None:
        return
    state, since_ms = "queued", began_ms if began_ms is not None else float(heard[0].at_ms)
    for event in heard:
        if event.at_ms > since_ms or state == "running":
            yield _ended(state, event.state), since_ms, float(event.at_ms)
        state, since_ms = event.state, float(event.at_ms)
    if state not in RUN_ENDED:
        yield state, since_ms, max(ends_ms, since_ms)


def _ended(state: str, after: str) -> str:
    if state != "running":
        return state
    return "failed" if after in AGAIN else after


def _ms(moment: datetime | None, otherwise: float) -> float:
    return otherwise if moment is None else moment.timestamp() * 1000
