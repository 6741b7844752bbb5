"""The engine as a user has it: real workers, real sources that misbehave, one honest report."""

from __future__ import annotations

import re

import pytest

from celery_collectors.model import STAGES
from tests.integration.conftest import Engine, until
from tests.integration.setups import EACH_STAGE

SHORT_MS = 0.1


@pytest.mark.everywhere
def test_a_whole_life(engine: Engine, pool: str) -> None:
    engine.worker(pool)
    request = engine.collectors.request("python", deadline=15)
    report = request.wait()
    assert report.state == "complete"
    assert report.result == {"items": 1, "request_id": request.id, "asked": ["steady"]}
    assert list(request.items()) == [{"from": "steady", "topic": "python"}]
    assert report.outcomes["steady"].attempts == 1
    states = [(event.subject, event.name, event.state) for event in request.events()]
    assert states == [
        ("request", "python", "collecting"),
        ("run", "steady", "running"),
        ("run", "steady", "ok"),
        ("request", "python", "gathering"),
        ("stage", "join", "running"),
        ("stage", "join", "ok"),
        ("request", "python", "cleaning"),
        ("stage", "merge", "running"),
        ("stage", "merge", "ok"),
        ("request", "python", "processing"),
        ("stage", "total", "running"),
        ("stage", "total", "ok"),
        ("request", "python", "complete"),
    ]


def test_retries_are_counted_and_what_cannot_help_is_not_retried(engine: Engine) -> None:
    engine.worker()
    flaky = engine.collectors.request("flaky", deadline=15).wait().outcomes["flaky"]
    assert (flaky.state, flaky.attempts, flaky.error) == ("ok", 3, None)
    raises = engine.collectors.request("raise", deadline=15).wait().outcomes["raises"]
    assert (raises.state, raises.attempts, engine.noted("raises")) == ("failed", 2, 2)
    permanent = engine.collectors.request("permanent", deadline=15).wait().outcomes["permanent"]
    assert (permanent.attempts, engine.noted("permanent")) == (1, 1)


def test_async_collectors(engine: Engine, pool: str) -> None:
    engine.worker(pool)
    request = engine.collectors.request("async", deadline=15)
    outcomes = request.wait().outcomes
    assert (outcomes["generates"].state, outcomes["generates"].items) == ("ok", 3)
    assert (outcomes["async_hangs"].state, outcomes["async_hangs"].error.type) == ("timed_out", "Timeout")
    assert (outcomes["async_raises"].state, outcomes["async_raises"].error.message) == ("failed", "no such feed")
    numbers = [item for item in request.items() if "number" in item]
    assert numbers == [{"number": n, "request_id": request.id, "attempt": 1} for n in range(3)]


@pytest.mark.promise(3)
def test_empty_is_an_answer_and_looks_unlike_failure(engine: Engine) -> None:
    engine.worker()
    report = engine.collectors.request("nothing", deadline=15, only=["nothing"]).wait()
    assert (report.state, report.outcomes["nothing"].state, report.result["items"]) == ("complete", "empty", 0)
    report = engine.collectors.request("raise", deadline=15, only=["raises"]).wait()
    assert (report.state, report.result) == ("failed", None)
    assert "min_ok" in report.error.message


def test_large_values_travel_by_reference(engine: Engine) -> None:
    engine.worker()
    request = engine.collectors.request("big", deadline=30)
    report = request.wait()
    assert report.outcomes["big"].bytes > 2_000_000
    assert report.result["items"] == 2001
    assert sum(1 for _ in request.items()) == 2001
    for key in engine.ledger_client.scan_iter(f"{engine.collectors.settings.prefix}:*"):
        if b":payload:" not in key:
            assert engine.ledger_client.memory_usage(key) < 64_000, key


@pytest.mark.parametrize("pool", ["prefork"])
@pytest.mark.everywhere
def test_a_killed_child_costs_only_an_attempt(engine: Engine, pool: str) -> None:
    engine.worker(pool)
    report = engine.collectors.request("die", deadline=25).wait()
    assert (report.outcomes["dies_once"].state, report.outcomes["dies_once"].attempts) == ("ok", 2)
    assert report.state == "complete"


@pytest.mark.parametrize("stage", EACH_STAGE)
def test_a_worker_child_killed_in_a_stage(engine: Engine, stage: str) -> None:
    engine.worker("prefork")
    report = engine.collectors.request(f"{stage}-dies", deadline=10).wait()
    assert (report.state, report.result["items"]) == ("complete", 1)
    assert {ref: outcome.attempts for ref, outcome in report.stages.items()} == {**dict.fromkeys(STAGES, 1), stage: 2}
    assert (engine.noted("steady"), engine.noted(stage)) == (1, 2)


@pytest.mark.parametrize("stage", EACH_STAGE)
def test_a_worker_child_killed_in_a_stage_in_place_costs_no_lease(engine: Engine, stage: str) -> None:
    engine.know(SHORT_MS, *(declared.task.name for declared in engine.collectors.registry.stages.values()))
    engine.worker("prefork")
    request = engine.collectors.request(f"{stage}-dies", deadline=15, only=["steady"])
    report = request.wait()
    assert (report.state, report.result["items"]) == ("complete", 1)
    assert (engine.noted("steady"), engine.noted(stage)) == (1, 2)
    at_ms = {(event.name, event.state): event.at_ms for event in reversed(request.recorded())}
    assert report.stages["gathering"].wait_s == 0, "it went on in place: one script ended the run and began the stage"
    assert report.finished_at is not None
    took_s = report.finished_at.timestamp() - at_ms["steady", "ok"] / 1000
    assert took_s < engine.collectors.settings.lease_s / 2, "it went on as soon as its death was seen"


@pytest.mark.promise(4)
@pytest.mark.heavy
def test_a_stage_that_raises_fails_the_request_and_keeps_the_items(engine: Engine) -> None:
    engine.worker()
    request = engine.collectors.request("cleanup-raises", deadline=20)
    report = request.wait()
    assert (report.state, report.error.message, report.stages["cleanup"].attempts) == (
        "failed",
        "can not do the cleanup",
        3,
    )
    assert list(request.items()) == [{"from": "steady", "topic": "cleanup-raises"}]


def test_the_policy_decides(engine: Engine) -> None:
    engine.worker("threads", 4)
    ask = engine.collectors.request
    first = ask("gated", deadline=20, first=1).wait()
    assert (first.state, first.outcomes["gated"].state) == ("complete", "skipped")
    required = ask("raise gated", deadline=20, required=["raises"]).wait()
    assert (required.state, required.outcomes["raises"].state) == ("failed", "failed")
    assert required.result is None
    engine.write("gate")
    enough = ask("raise", deadline=20, min_ok=1).wait()
    assert enough.state == "partial"


def test_the_deadline_is_kept_and_says_what_was_late(engine: Engine, pool: str) -> None:
    engine.worker(pool)
    report = engine.collectors.request("gated", deadline=2).wait()
    assert report.state == "partial"
    assert (report.finished_at - report.created_at).total_seconds() < 6
    late = report.outcomes["gated"]
    assert (late.state, late.attempts) == ("timed_out", 1)
    assert late.run_s == pytest.approx(2, abs=1.5)


@pytest.mark.promise(1)
def test_without_any_worker_it_still_answers(engine: Engine) -> None:
    report = engine.collectors.request("python", deadline=1).wait()
    assert (report.state, report.outcomes["steady"].attempts) == ("failed", 0)
    assert "in the queue and never started" in report.outcomes["steady"].error.message


def test_a_key_gives_one_request(engine: Engine) -> None:
    engine.worker()
    first = engine.collectors.request("python", deadline=15, key="k1")
    again = engine.collectors.request("python", deadline=15, key="k1")
    assert first.id == again.id
    first.wait()
    assert engine.noted("steady") == 1


@pytest.mark.heavy
@pytest.mark.alone
@pytest.mark.setups("embedded")
def test_two_thousand_coroutines(engine: Engine) -> None:
    """2,000 runs that each wait 1 s, in one worker of 2 processes, at Celery's own default log level."""
    engine.worker("prefork", 2, "-l", "WARNING")
    request = engine.many("one_second", 2000, on_loop=True)
    report = request.wait()
    took_s = (report.finished_at - report.created_at).total_seconds()
    assert all(outcome.state == "ok" for outcome in report.outcomes.values())
    print(f"2,000 coroutines of 1 s: {took_s:.2f} s")
    assert took_s < 6


@pytest.mark.alone
def test_each_sends_a_message_per_stage_and_auto_goes_on_in_place(engine: Engine) -> None:
    """A stage known to be short continues in the process that completed the step before."""
    engine.worker("threads", 2)

    def stage_messages(messages: str) -> int:
        requests = [engine.collectors.request("python", deadline=30, messages=messages) for _ in range(30)]
        assert all(request.wait().state == "complete" for request in requests)
        received = re.findall(
            r"Task tests\.integration\.engine_app\.total\[(\S+?)-process-\S+\] received", engine.logs()
        )
        return len({request.id for request in requests} & set(received))

    assert stage_messages("each") == 30
    assert stage_messages("auto") < 30


@pytest.mark.everywhere
def test_what_is_urgent_overtakes_a_backlog(engine: Engine) -> None:
    """RabbitMQ serves the highest number first and Redis the lowest; ours are words."""
    engine.worker("threads", 1, "--prefetch-multiplier", "1")
    engine.collectors.request("gated", deadline=60, only=["gated"])
    until(lambda: engine.noted("gate-waits"), "the only thread is busy")
    backlog = [engine.collectors.request("short", deadline=60, only=["short"], priority="low") for _ in range(20)]
    urgent = engine.collectors.request("python", deadline=60, priority="high")
    engine.write("gate")
    assert urgent.wait().state == "complete"
    assert engine.noted("short") <= 5
    assert [request.wait().state for request in backlog] == ["complete"] * 20
