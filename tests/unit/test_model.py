"""The model: transitions that end, and a policy that can't change its mind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_collectors.errors import PolicyError
from celery_collectors.model import (
    REQUEST_ENDED,
    REQUEST_TRANSITIONS,
    RUN_ANSWERED,
    RUN_ENDED,
    RUN_MISSING,
    RUN_TRANSITIONS,
    ErrorInfo,
    Outcome,
    Policy,
    Report,
    RequestState,
    RunState,
    at,
)

counts = st.integers(0, 8)
policies = st.builds(Policy, min_ok=counts, first=st.none() | st.integers(1, 8))


@pytest.mark.parametrize(
    ("table", "ended"), [(RUN_TRANSITIONS, RUN_ENDED), (REQUEST_TRANSITIONS, REQUEST_ENDED)], ids=["run", "request"]
)
def test_every_state_can_reach_an_end_and_no_end_becomes_another(table: Mapping[Any, Any], ended: Any) -> None:
    for state, following in table.items():
        assert following <= table.keys()
        assert bool(following & ended) == (state not in ended)


def test_an_end_is_left_by_a_retry_only() -> None:
    left = {state: set(RUN_TRANSITIONS[state]) for state in RUN_ENDED if RUN_TRANSITIONS[state]}
    assert left == {state: {RunState.QUEUED} for state in RUN_ENDED - RUN_ANSWERED}
    left = {state: set(REQUEST_TRANSITIONS[state]) for state in REQUEST_ENDED if REQUEST_TRANSITIONS[state]}
    assert left == {state: {RequestState.COLLECTING} for state in (RequestState.PARTIAL, RequestState.FAILED)}


def test_every_state_has_its_row() -> None:
    assert set(RUN_TRANSITIONS) == set(RunState)
    assert set(REQUEST_TRANSITIONS) == set(RequestState) - {RequestState.UNKNOWN}
    assert {RunState.SKIPPED} == RUN_ENDED - RUN_ANSWERED - RUN_MISSING


@given(policy=policies, answered=counts, still_open=counts, more=counts)
def test_what_is_impossible_stays_impossible(policy: Policy, answered: int, still_open: int, more: int) -> None:
    more = min(more, still_open)
    if policy.is_impossible(answered=answered, still_open=still_open, required_missing=0):
        assert policy.is_impossible(answered=answered + more, still_open=still_open - more, required_missing=0)
        assert not policy.is_met(answered=answered + still_open, required_open=0)


@given(policy=policies, answered=counts, more=counts, required_open=st.integers(0, 2))
def test_what_is_met_stays_met(policy: Policy, answered: int, more: int, required_open: int) -> None:
    if policy.is_met(answered=answered, required_open=required_open):
        assert policy.is_met(answered=answered + more, required_open=required_open)
    if policy.ends_early(answered=answered, required_open=required_open):
        assert policy.is_met(answered=answered, required_open=required_open)
        assert policy.first is not None
        assert answered >= policy.first


@given(policy=policies, runs=st.integers(1, 8))
def test_what_is_accepted_can_be_met(policy: Policy, runs: int) -> None:
    try:
        policy.check(tuple(f"c{n}" for n in range(runs)))
    except PolicyError:
        assert policy.min_ok > runs or (policy.first or 1) > runs
    else:
        assert policy.is_met(answered=runs, required_open=0)
        assert not policy.is_impossible(answered=0, still_open=runs, required_missing=0)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Policy(min_ok=3), "min_ok=3 can't be met: 2 are asked"),
        (Policy(min_ok=-1), "min_ok=-1"),
        (Policy(first=0), "first=0 can't be met: 2 are asked"),
        (Policy(first=3), "first=3"),
        (Policy(required=("c",)), "required='c' is not among those asked: a, b"),
    ],
)
def test_a_policy_that_can_not_be_met_is_refused(policy: Policy, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        policy.check(("a", "b"))


def test_a_report_as_data() -> None:
    error = ErrorInfo(type="Oops", kind="transient", message="no", retryable=True, traceback="long")
    outcomes = {"a": Outcome(state=RunState.FAILED, attempts=1, error=error)}
    report = Report(request_id="r", topic="t", state=RequestState.FAILED, created_at=at(1_500), outcomes=outcomes)
    data = report.to_dict()
    assert (data["version"], data["created_at"], data["finished_at"]) == (1, "1970-01-01T00:00:01.500Z", None)
    assert data["outcomes"]["a"]["error"] == {
        "type": "Oops", "kind": "transient", "message": "no", "retryable": True,
    }  # fmt: skip
