"""How long a collector's runs took over time, as p50 and p95 in columns of equal time, with one run marked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from celery_collectors.ledger.tally import percentile
from celery_collectors.model import RUN_ANSWERED, RUN_MISSING, Outcome, RunState

COLUMNS = 12
WIDTH, HEIGHT = 1000.0, 40.0
COUNTED = (RUN_ANSWERED | RUN_MISSING) - {RunState.CANCELLED}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it counts here: when it was asked, and how its runs ended."""

    request_id: str
    at: datetime
    outcomes: Mapping[str, Outcome]


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time: where it stands, what half of its runs and 19 of 20 did not exceed, and where these stand."""

    x: float
    width: float
    p50_s: float
    p95_s: float
    p50_y: float
    p95_y: float


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """One collector's runs over time.

    Attributes:
        name: The run's.
        columns: Those stretches of time in which it ran, the oldest first.
        runs, p50_s, p95_s: How many there are, and what half of all and 19 of 20 did not exceed.
        mark: Where the marked run stands, if it ran.
        this_s: How long that took.
        said: The same in words.
    """

    name: str
    columns: tuple[Column, ...]
    runs: int
    p50_s: float | None
    p95_s: float | None
    mark: tuple[float, float] | None
    this_s: float | None
    said: str


def trends(names: Iterable[str], seen: Sequence[Seen], marked: str) -> list[Trend]:
    """Draw each collector's runs.

    Args:
        names: The collectors' (their runs').
        seen: Some requests.
        marked: The id of the one whose runs are marked.
    """
    places = _places([one.at for one in seen])
    return [_trend(name, list(zip(seen, places, strict=True)), marked) for name in names]


def _trend(name: str, seen: Sequence[tuple[Seen, float]], marked: str) -> Trend:
    runs = [(one.request_id, place, _run_s(one.outcomes.get(name))) for one, place in seen]
    took = [(place, run_s) for _, place, run_s in runs if run_s is not None]
    this = next(((place, run_s) for one, place, run_s in runs if one == marked and run_s is not None), None)
    times_s = sorted(run_s for _, run_s in took)
    top_s = max(times_s, default=0.0) or 1.0
    columns = tuple(_columns(took, top_s))
    return Trend(
        name=name,
        columns=columns,
        runs=len(took),
        p50_s=percentile(times_s, 50),
        p95_s=percentile(times_s, 95),
        mark=(round(WIDTH * this[0], 1), _y(this[1], top_s)) if this else None,
        this_s=this[1] if this else None,
        said=_in_words(name, columns),
    )


def _run_s(outcome: Outcome | None) -> float | None:
    return outcome.run_s if outcome is not None and outcome.state in COUNTED else None


def _places(moments: Sequence[datetime]) -> list[float]:
    """Where moments stand between the first and the last, from 0 to 1; where all are one, at the end."""
    begins, ends = min(moments, default=None), max(moments, default=None)
    if begins is None or ends is None or begins == ends:
        return [1.0] * len(moments)
    return [(one - begins) / (ends - begins) for one in moments]


def _columns(took: Sequence[tuple[float, float]], top_s: float) -> Iterable[Column]:
    width = WIDTH / COLUMNS
    for number in range(COLUMNS):
        times_s = sorted(run_s for place, run_s in took if min(int(place * COLUMNS), COLUMNS - 1) == number)
        p50_s, p95_s = percentile(times_s, 50), percentile(times_s, 95)
        if p50_s is not None and p95_s is not None:
            yield Column(
                x=round(number * width, 1),
                width=round(width, 1),
                p50_s=p50_s,
                p95_s=p95_s,
                p50_y=_y(p50_s, top_s),
                p95_y=_y(p95_s, top_s),
            )


def _y(run_s: float, top_s: float) -> float:
    """Downwards from the top, with room for a line's breadth at both ends."""
    return round(2 + (HEIGHT - 4) * (1 - run_s / top_s), 1)


def _in_words(name: str, columns: Sequence[Column]) -> str:
    if not columns:
        return f"{name}: no run has ended"
    halves = ", ".join(f"{one.p50_s:.2f}" for one in columns)
    most = ", ".join(f"{one.p95_s:.2f}" for one in columns)
    return f"{name}, the oldest first: half took at most {halves} s; 19 of 20 at most {most} s"
