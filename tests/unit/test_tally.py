"""How a collector did, counted from outcomes; and which requests a list wants."""

from __future__ import annotations

import fnmatch
from datetime import UTC, datetime, timedelta

import pytest

from celery_collectors.ledger.finding import Summary, Wanted
from celery_collectors.ledger.tally import tally
from celery_collectors.model import ErrorInfo, Outcome, RequestState, RunState

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
AIRPORT = Summary(
    request_id="1", topic="airport", state=RequestState.COMPLETE, created_at=NOON, finished_at=None,
    runs=1, open=0, missing=0,
)  # fmt: skip


def outcome(state: str, run_s: float | None = None, error: str | None = None) -> Outcome:
    said = ErrorInfo(type="Odd", kind="transient", message=error, retryable=True) if error else None
    return Outcome(state=RunState(state), run_s=run_s, error=said)


def test_what_was_skipped_or_cancelled_says_nothing_of_a_source() -> None:
    found = tally("a", {str(n): {"a": outcome(state)} for n, state in enumerate(("ok", "skipped", "cancelled"))})
    assert (found.runs, found.answered, found.reliability) == (1, 1, 1.0)


def test_a_tally_has_the_share_that_answered_and_the_newest_error() -> None:
    requests = {
        "new": {"a": outcome("empty", 1.0)},
        "older": {"a": outcome("failed", 3.0, "second"), "b": outcome("failed", 9.0, "of another")},
        "oldest": {"a": outcome("lost", None, "first")},
        "running": {"a": outcome("running", None, "as it was tried before")},
    }
    found = tally("a", requests)
    assert (found.runs, found.answered) == (3, 1)
    assert found.last_error is not None
    assert (found.last_error.message, found.last_error_in) == ("second", "older")
    assert (found.run_p50_s, found.run_p95_s) == (1.0, 3.0)


def test_of_a_collector_that_never_ran_nothing_is_claimed() -> None:
    assert tally("a", {}).to_dict()["reliability"] is None


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (Wanted(topic="air*"), True),
        (Wanted(topic="air"), False),
        (Wanted(states=frozenset({"complete", "failed"})), True),
        (Wanted(states=frozenset({"failed"})), False),
        (Wanted(since=NOON), True),
        (Wanted(since=NOON + timedelta(seconds=1)), False),
        (Wanted(until=NOON), True),
        (Wanted(until=NOON - timedelta(seconds=1)), False),
    ],
)
def test_which_requests_a_list_wants(wanted: Wanted, takes: bool) -> None:
    assert wanted
    assert wanted.takes(AIRPORT) is takes
    assert not Wanted()


def test_what_a_topic_is_compared_with_is_not_kept_for_ever() -> None:
    kept = fnmatch._compile_pattern.cache_info
    before = kept().currsize
    assert [number for number in range(9) if Wanted(topic=f"*{number}*").takes(AIRPORT)] == []
    assert kept().currsize == before
