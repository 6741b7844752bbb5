"""What must hold of every request at any time, and between any two moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from celery_collectors.ledger import RESULT
from celery_collectors.model import (
    REQUEST_TRANSITIONS,
    RUN_ANSWERED,
    RUN_ENDED,
    RUN_MISSING,
    RUN_TRANSITIONS,
    STAGES,
    RequestState,
    RunState,
)
from tests.ledger.snapshot import Request

STAGE_REFS = {str(state): ref for ref, state in STAGES.items()}
GRACE_MS = 2000
HAND_OUT_MS = 15_000
SILENT_MS = 10_000
AGAIN_MS = 6000  # after how long tasks ask to be tried again


def counters_recount(request: Request) -> None:
    runs, head = request.runs.values(), request.head
    required = [run for run in runs if run.get("required")]
    assert head["open"] == len(request.open_runs)
    assert head["answered"] == sum(run["state"] in RUN_ANSWERED for run in runs)
    assert head["missing"] == sum(run["state"] in RUN_MISSING for run in runs)
    assert head["required_open"] == sum(run["state"] not in RUN_ANSWERED for run in required)
    assert head["required_missing"] == sum(run["state"] in RUN_ENDED - RUN_ANSWERED for run in required)


def state_follows_policy(request: Request) -> None:
    policy, head = request.plan.policy, request.head
    answered, missing = int(head["answered"]), int(head["missing"])
    met = policy.is_met(answered=answered, required_open=int(head["required_open"]))
    enough = policy.ends_early(answered=answered, required_open=int(head["required_open"]))
    lacking = sum(bool(run.get("required")) and run["state"] in RUN_MISSING for run in request.runs.values())
    skipped = sum(run["state"] == RunState.SKIPPED and request.is_of_now(run) for run in request.runs.values())
    impossible = policy.is_impossible(
        answered=answered, still_open=int(head["open"]) + skipped, required_missing=lacking
    )
    if request.state == RequestState.COLLECTING and not {"closing", "again"} & head.keys():
        assert head["open"] > 0
        assert not enough, "first=n is reached, and it still collects"
        assert not impossible, "the policy can't be met any more, and it still collects"
    if skipped or head.get("closing") == RunState.SKIPPED:
        lost_to_min_ok = policy.is_impossible(answered=answered, still_open=int(head["open"]), required_missing=lacking)
        assert enough or lost_to_min_ok, "collecting was ended early without a reason"
    if request.state in {*STAGE_REFS, RequestState.COMPLETE, RequestState.PARTIAL}:
        assert met
        assert head["open"] == 0
    if request.state in {RequestState.COMPLETE, RequestState.PARTIAL}:
        assert (request.state == RequestState.COMPLETE) == (missing == 0)
        assert [request.stages[ref]["state"] for ref in request.plan.stages] == ["ok"] * len(request.plan.stages)
    if request.state == RequestState.FAILED and not request.stages:
        assert not met


def stages_only_after_all_runs(request: Request) -> None:
    if request.stages:
        assert request.open_runs == {}, "a stage is there while runs are open"
    begun = list(request.plan.stages[: len(request.stages)])
    assert sorted(request.stages) == sorted(begun), "stages begin in their order"
    done = [request.stages[ref]["state"] for ref in begun[:-1]]
    assert done == ["ok"] * len(done), "a stage begins when the one before it has committed"
    if request.state in STAGE_REFS:
        assert begun[-1] == STAGE_REFS[request.state]
        assert request.stages[begun[-1]]["state"] not in RUN_ENDED


def reasons_are_true(request: Request, now_ms: int) -> None:
    of_now = {ref: r for ref, r in request.records.items() if r["state"] in RUN_ENDED and request.is_of_now(r)}
    for ref, record in of_now.items():
        if record["state"] == RunState.TIMED_OUT and "the deadline" in record["error"]["message"]:
            assert now_ms >= request.head["deadline_at"], f"{ref} ended by a deadline that had not come"
        if record["state"] == RunState.CANCELLED:
            assert request.state == RequestState.CANCELLED or ref in request.revoked
        if record["state"] == RunState.TIMED_OUT and "expired" in record["error"]["message"]:
            assert now_ms >= record["expires_at"], f"{ref} had not expired"
        if record["state"] == RunState.TIMED_OUT and "given to the stages" in record["error"]["message"]:
            assert now_ms >= request.head["finish_at"]
        if record["state"] in {RunState.FAILED, RunState.LOST, RunState.TIMED_OUT}:
            assert record["error"]["message"]


def nothing_is_stuck(request: Request, now_ms: int) -> None:
    head, due = request.head, request.due
    if request.ended:
        assert "closing" not in head or "" in due
        assert (RESULT in due) == (request.result is not None), "the result is there, and nobody will store it"
        for ref in request.links:
            is_watched(request, ref, now_ms)
        return
    timer = head["deadline_at"] if request.state == RequestState.COLLECTING else head["finish_at"]
    is_busy = {"closing", "again", "moving"} & head.keys()
    assert due.get("", float("inf")) <= max(timer, now_ms if is_busy else 0), "its timer is gone"
    timer_acts = request.state == RequestState.COLLECTING and ("closing" in head or now_ms >= timer)
    for ref in request.records:
        is_watched(request, ref, now_ms, timer_acts=timer_acts)


def is_watched(request: Request, ref: str, now_ms: int, *, timer_acts: bool = False) -> None:
    """What is not over is due, or waits for a worker; ``timer_acts`` if its request's own timer will end it."""
    due, record = request.due, request.records[ref]
    state, places = record["state"], [ref in due, ref in request.waiting]
    if state in RUN_ENDED:
        assert places == [False, False], f"{ref} has ended and is still due or waiting"
    elif state == RunState.QUEUED and "expires_at" in record:
        assert places[0] or timer_acts, f"{ref} is queued, and nobody will see it expire"
        assert not places[0] or due[ref] <= record["expires_at"]
    elif state == RunState.QUEUED:
        assert sum(places) == 1 or timer_acts, f"{ref} is queued, and nobody will hand it out"
    else:
        assert places == [True, False] or timer_acts, f"{ref} is {state}, and nobody watches it"
    if state == RunState.QUEUED and places == [True, False]:
        assert due[ref] <= max(now_ms + HAND_OUT_MS, record["queued_at"])
    if state == RunState.RUNNING and ref in due:
        assert due[ref] <= max(record["ends_at"], now_ms) + SILENT_MS, "its lease outlives its time"
    if state == RunState.RETRYING and ref in due:
        assert due[ref] <= record["ended_at"] + max(record["backoff_cap_ms"], AGAIN_MS if ref in request.asked else 0)


def caps_hold(request: Request) -> None:
    for ref, record in request.records.items():
        once, asked = record.get("once", False), request.asked.get(ref, 0)
        cap = 1 if once else 3
        assert record["failures"] <= record["retries"] + asked + 1
        assert record["crashes"] <= cap
        assert (record["state"] == RunState.LOST) <= (record["crashes"] == cap or once)
        assert (record["crashes"] == cap) <= (record["state"] in RUN_ENDED)
        if once and not record.get("step"):
            assert record["attempt"] <= request.generation + asked, f"{ref} ran twice"


def values_belong_to_answers(request: Request) -> None:
    for ref in request.values:
        run, _, step = ref.partition(":")
        if step:
            assert int(step) < request.runs[run]["step"], "a value of a step that has not ended"
        else:
            assert (request.runs | request.stages)[ref]["state"] == RunState.OK
    for ref, record in (request.runs | request.stages).items():
        assert (record["state"] == RunState.OK) <= (ref in request.values), f"the output of {ref} is lost"
        steps = [f"{ref}:{step}" for step in range(record.get("step", 0))]
        assert set(steps) <= set(request.values), f"a value that {ref} goes on with is lost"
        if record["state"] in RUN_ANSWERED:
            assert len(steps) == request.plan.last_step(ref), "a chain is answered by its last task"


def what_follows_fits_the_end(request: Request) -> None:
    """Each link of the right kind from the end on, no other ever; and the result until it has been stored."""
    right = {"complete": "link", "partial": "link", "failed": "link_error"}.get(request.state)
    assert set(request.links) == {f"{kind}:0" for kind in request.plan.links if kind == right}
    assert (request.result is not None) == (request.plan.has_result and request.ended and not request.is_stored)


def nothing_is_left_of_the_ended(request: Request) -> None:
    if request.ended and "closing" not in request.head:
        left = set(request.due) | set(request.waiting)
        assert left - request.still_follows <= {""}, f"{left} of an ended request are still due or waiting"
        assert request.open_runs == {}


def lifetimes_fit(request: Request) -> None:
    """What has ended goes away by itself, and nothing else does."""
    assert all((ttl == -1) != request.ended or ttl == -2 for ttl in request.ttls)
    assert request.ttls[0] != -2


def _pairs(before: Request, after: Request) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each record as it was and as it is; those of stages and links end with their generation."""
    old = before.records if after.generation == before.generation else before.runs
    return [(ref, record, after.records[ref]) for ref, record in old.items()]


def states_follow_the_table(before: Request, after: Request) -> None:
    state, new = RequestState(before.state), RequestState(after.state)
    # A retry of which nothing is left to run goes on to its stages at once.
    steps = [state, RequestState.COLLECTING] if after.generation > before.generation else [state]
    assert new in steps or new in REQUEST_TRANSITIONS[steps[-1]], f"{state} can't become {new}"
    assert steps[1:] == [] or steps[1] in REQUEST_TRANSITIONS[state], f"{state} can't be tried again"
    for ref, record, changed in _pairs(before, after):
        old, is_now = RunState(record["state"]), RunState(changed["state"])
        assert is_now == old or is_now in RUN_TRANSITIONS[old], f"{ref}: {old} can't become {is_now}"


def generations_count_up(before: Request, after: Request) -> None:
    """An end is left by a retry alone, and only what is tried again changes then."""
    assert after.generation - before.generation in (0, 1)
    is_new = after.generation > before.generation
    if is_new:
        assert before.ended, "an unfinished request was tried again"
        assert before.still_follows <= {RESULT}, "a link of the end before is cut off"
    elif before.ended:
        assert after.state == before.state, "an end was left without a retry"
        assert before.head.get("finished_at") == after.head.get("finished_at")
    for ref, record, changed in _pairs(before, after):
        revived = record["state"] in RUN_ENDED and changed["state"] not in RUN_ENDED
        assert not revived or is_new or "again" in before.head, f"{ref} had ended, and nobody tried it again"
        assert record["state"] not in RUN_ENDED or revived or changed == record, f"{ref} had ended, and changed"
        assert changed["delivery"] - record["delivery"] in ((1,) if revived else (0, 1)), f"{ref}: older messages count"


def answers_stay(before: Request, after: Request) -> None:
    for ref, record in before.runs.items():
        if record["state"] in RUN_ANSWERED:
            assert after.runs[ref] == record, f"{ref} had answered, and changed"
    kept = before.values if after.generation == before.generation else before.values_of_runs
    for ref, value in kept.items():
        assert after.values.get(ref) == value, f"the output of {ref} changed"


def attempts_count_up(before: Request, after: Request) -> None:
    for ref, record, changed in _pairs(before, after):
        began = record["state"] != RunState.RUNNING and changed["state"] == RunState.RUNNING
        assert changed["attempt"] - record["attempt"] == began, f"{ref} lost count of its attempts"


def one_process_has_it(before: Request, after: Request) -> None:
    for ref, record, changed in _pairs(before, after):
        if record["state"] == changed["state"] == RunState.RUNNING:
            assert changed["owner"] == record["owner"], f"{ref} has a second owner"


def what_runs_once_runs_once(before: Request, after: Request) -> None:
    for ref, record, changed in _pairs(before, after):
        if record.get("once") and record["state"] == RunState.RUNNING:
            goes_on = changed.get("step") != record.get("step") or changed["state"] == RunState.RETRYING
            ended = changed["state"] in RUN_ENDED
            assert changed["state"] == RunState.RUNNING or ended or goes_on, f"{ref} may run twice"


def nothing_starts_after_the_end(before: Request, after: Request) -> None:
    if before.ended and after.generation == before.generation:
        theirs = after.runs | after.stages
        started = [ref for ref, record in theirs.items() if record["state"] == RunState.RUNNING]
        assert all(before.records[ref]["state"] == RunState.RUNNING for ref in started), "started after the end"


AT_ANY_TIME = (
    counters_recount,
    state_follows_policy,
    stages_only_after_all_runs,
    caps_hold,
    values_belong_to_answers,
    what_follows_fits_the_end,
    nothing_is_left_of_the_ended,
    lifetimes_fit,
)
BY_THE_CLOCK = (reasons_are_true, nothing_is_stuck)
BETWEEN = (
    states_follow_the_table,
    generations_count_up,
    answers_stay,
    attempts_count_up,
    one_process_has_it,
    what_runs_once_runs_once,
    nothing_starts_after_the_end,
)
LAWS = {law.__name__ for law in (*AT_ANY_TIME, *BY_THE_CLOCK, *BETWEEN)}


def checks(before: Request | None, request: Request, now_ms: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every law by its name, as a check of what one call to the ledger made of a request."""
    for law in AT_ANY_TIME:
        yield law.__name__, partial(law, request)
    for timed in BY_THE_CLOCK:
        yield timed.__name__, partial(timed, request, now_ms)
    for change in BETWEEN if before is not None else ():
        yield change.__name__, partial(change, before, request)
