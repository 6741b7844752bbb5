"""How long runs took over time: what stands where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("jinja2")

from celery_collectors.model import Outcome, RunState
from celery_collectors.web.trend import COLUMNS, Seen, Trend, trends

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def seen(minute: float, run_s: float | None, state: str = "ok") -> Seen:
    outcome = Outcome(state=RunState(state), run_s=run_s)
    return Seen(request_id=f"at {minute}", at=NOON + timedelta(minutes=minute), outcomes={"a": outcome})


def of_a(*some: Seen, marked: str = "") -> Trend:
    (found,) = trends(["a"], some, marked)
    return found


def test_columns_are_of_equal_time_and_those_without_runs_are_gaps() -> None:
    found = of_a(seen(0, 1.0), seen(1, 3.0), seen(COLUMNS, 2.0))
    assert [(one.x, one.p50_s, one.p95_s) for one in found.columns] == [(0, 1, 1), (83.3, 3, 3), (916.7, 2, 2)]
    assert (found.columns[1].p50_y, found.columns[0].p50_y) == (2, 26)  # the slowest is on top


def test_a_column_has_what_half_and_most_did_not_exceed() -> None:
    found = of_a(*(seen(0, float(number)) for number in range(1, 21)))
    assert [(one.p50_s, one.p95_s) for one in found.columns] == [(10, 19)]
    assert (found.runs, found.p50_s, found.p95_s) == (20, 10, 19)


def test_the_run_that_is_asked_about_is_marked() -> None:
    found = of_a(seen(0, 4.0), seen(6, 1.0), seen(12, 2.0), marked="at 6")
    assert (found.mark, found.this_s) == ((500, 29), 1)
    assert of_a(seen(0, 4.0), marked="another").mark is None


def test_what_took_no_time_is_no_division() -> None:
    assert of_a(seen(0, 0.0), marked="at 0").mark == (1000, 38)


@pytest.mark.parametrize(
    "one", [seen(0, 1.0, "cancelled"), seen(0, 1.0, "skipped"), seen(0, 1.0, "running"), seen(0, None)]
)
def test_what_says_nothing_of_the_source_does_not_count(one: Seen) -> None:
    found = of_a(one, marked="at 0")
    assert (found.runs, found.columns, found.mark, found.said) == (0, (), None, "a: no run has ended")


def test_the_same_in_words() -> None:
    assert of_a(seen(0, 1.0), seen(1, 3.0)).said == (
        "a, the oldest first: half took at most 1.00, 3.00 s; 19 of 20 at most 1.00, 3.00 s"
    )


def test_of_no_requests_there_is_nothing() -> None:
    assert of_a().runs == 0
