"""The policy: what ends collecting, when, and that Lua and Python agree on it."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from celery_collectors.model import RUN_ANSWERED, RUN_MISSING, Policy
from tests.ledger.world import World, run

ENDS = {"ok": "ok", "empty": "empty", "failed": "failed", "timed_out": "timed_out"}
numbers = count(1)


def end(world: World, request_id: str, ref: str, state: str) -> None:
    grant = world.start(request_id, ref)
    if state == "ok":
        world.succeed(grant)
    elif state == "empty":
        world.ledger.settle(grant.held, "empty")
    else:
        world.fail(grant, state, retryable=False)


def expected(policy: Policy, required: list[bool], states: list[str]) -> str:
    """The request's state after these runs ended in this order, by the policy of ``model.py``."""
    answered = missing = 0
    required_open, required_missing = sum(required), 0
    for place, state in enumerate(states):
        answered += state in RUN_ANSWERED
        missing += state in RUN_MISSING
        required_open -= required[place] and state in RUN_ANSWERED
        required_missing += required[place] and state in RUN_MISSING
        still_open = len(required) - place - 1
        early = policy.ends_early(answered=answered, required_open=required_open)
        hopeless = policy.is_impossible(answered=answered, still_open=still_open, required_missing=required_missing)
        if still_open == 0 or early or hopeless:
            met = policy.is_met(answered=answered, required_open=required_open)
            return "failed" if not met else "partial" if missing else "complete"
    return "collecting"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    required=st.lists(st.booleans(), min_size=1, max_size=5),
    min_ok=st.integers(0, 5),
    first=st.none() | st.integers(1, 5),
    states=st.lists(st.sampled_from(sorted(ENDS)), max_size=5),
)
def test_lua_and_python_agree_after_every_end(
    ledger_client: Redis, prefix: str, required: list[bool], min_ok: int, first: int | None, states: list[str]
) -> None:
    world = World(ledger_client, f"{prefix}.{next(numbers)}")
    policy = Policy(min_ok=min(min_ok, len(required)), first=first and min(first, len(required)))
    runs = [run(f"c{place}", required=is_required) for place, is_required in enumerate(required)]
    request_id = world.open(*runs, policy=policy)
    for place, state in enumerate(states[: len(required)]):
        end(world, request_id, str(place), state)
        now = expected(policy, required, states[: place + 1])
        assert world.state(request_id) == now
        if now != "collecting":
            break


def test_first_ends_the_others_as_skipped_running_ones_too(world: World) -> None:
    request_id = world.open("a", "b", "c", policy=Policy(first=1))
    slow = world.start(request_id, "1")
    world.collect(request_id, "0")
    report = world.reader.report(request_id)
    assert report.state == "complete", "skipped is not missing"
    assert [str(outcome.state) for outcome in report.outcomes.values()] == ["ok", "skipped", "skipped"]
    assert world.succeed(slow).reason == "late"
    assert world.start(request_id, "2").reason == "settled"


def test_first_waits_for_what_is_required(world: World) -> None:
    request_id = world.open("a", run("needed", required=True), "c", policy=Policy(first=1))
    world.collect(request_id, "0")
    assert world.state(request_id) == "collecting"
    world.collect(request_id, "1")
    assert world.state(request_id) == "complete"


def test_min_ok_never_ends_collecting_early(world: World) -> None:
    request_id = world.open("a", "b", policy=Policy(min_ok=1))
    world.collect(request_id, "0")
    assert world.state(request_id) == "collecting"


def test_what_has_become_impossible_ends_at_once(world: World) -> None:
    request_id = world.open("a", "b", "c", policy=Policy(min_ok=3))
    end(world, request_id, "0", "failed")
    report = world.reader.report(request_id)
    assert report.state == "failed"
    assert [str(outcome.state) for outcome in report.outcomes.values()] == ["failed", "skipped", "skipped"]


def test_a_required_run_that_failed_ends_it(world: World) -> None:
    request_id = world.open(run("needed", required=True), "b", policy=Policy(min_ok=0))
    end(world, request_id, "0", "failed")
    error = world.reader.report(request_id).error
    assert error is not None
    assert error.message == "required, and without an answer: needed"


def test_a_run_that_is_retrying_still_counts_as_possible(world: World) -> None:
    request_id = world.open(run("a", retries=1), "b", policy=Policy(min_ok=2))
    world.fail(world.start(request_id))
    assert world.state(request_id) == "collecting"


@pytest.mark.parametrize(
    ("states", "final"),
    [
        (["empty", "empty"], "complete"),
        (["ok", "failed"], "partial"),
        (["empty", "timed_out"], "partial"),
        (["failed", "failed"], "failed"),
    ],
)
def test_empty_never_looks_like_failed(world: World, states: list[str], final: str) -> None:
    request_id = world.open("a", "b")
    for place, state in enumerate(states):
        end(world, request_id, str(place), state)
    assert world.state(request_id) == final


def test_closing_many_runs_lets_answers_in_and_no_new_starts(world: World) -> None:
    request_id = world.open(*(f"c[{i}]" for i in range(2500)), policy=Policy(first=1), stages=["process"])
    slow = world.start(request_id, "2000")
    world.collect(request_id, "0")
    assert world.state(request_id) == "collecting", "500 are closed per call"
    assert world.start(request_id, "2001").reason == "settled"
    assert world.succeed(slow).kept
    assert [order.ref for order in world.sweep()] == ["process"]
    assert (world.state(request_id), world.head(request_id)["open"]) == ("processing", "0")
    assert world.reader.answered(request_id) == ["0", "2000"]


def test_the_last_answer_during_a_closing_ends_it_with_the_next_sweep(world: World) -> None:
    request_id = world.open(*(f"c[{i}]" for i in range(501)), policy=Policy(first=1), stages=["process"])
    slow = world.start(request_id, "500")
    world.collect(request_id, "0")
    world.succeed(slow)
    assert world.head(request_id)["open"] == "0"
    assert [order.ref for order in world.sweep()] == ["process"]


def test_one_call_closes_so_many_of_all_requests(world: World) -> None:
    names = [f"c[{i}]" for i in range(600)]
    ids = [f"same-{n}" for n in range(40)]
    shard = world.ledger.shards[0]
    here = [request_id for request_id in ids if world.ledger.shard_of(request_id) == shard][:3]
    for request_id in here:
        world.open_as(request_id, *names, deadline_s=5)
    world.clock.forward(5)
    reply = world.ledger.claim(shard, sweeper="s")
    still_open = sum(int(world.head(request_id)["open"]) for request_id in here)
    assert (reply.more, still_open) == (True, 3 * 600 - 500)
    world.sweep()
    assert [world.state(request_id) for request_id in here] == ["failed"] * 3
