"""Cancel, in each state and with every worker off: once it returns, nothing of the request starts any more."""

from __future__ import annotations

import time

import psutil
import pytest

from celery_collectors.errors import RequestError, RequestUnknown, WaitTimeout
from celery_collectors.model import STAGES
from tests.integration.conftest import Engine, until


@pytest.mark.everywhere
def test_cancel_before_any_worker_is_there(engine: Engine, pool: str) -> None:
    request = engine.collectors.request("python", deadline=60)
    assert request.cancel("not needed", by="ann") == "cancelled"
    engine.worker(pool)
    other = engine.collectors.request("python", deadline=20).wait()  # queued behind the cancelled one's message
    assert other.state == "complete"
    report = request.report()
    assert (report.state, report.outcomes["steady"].state) == ("cancelled", "cancelled")
    assert report.error.message == "cancelled by ann: not needed"
    assert (report.outcomes["steady"].attempts, engine.noted("steady")) == (0, 1)


@pytest.mark.promise(7)
@pytest.mark.parametrize(("topic", "gate"), [("gated", "gate-waits"), ("agated", "agate-waits")])
def test_cancel_while_collecting_frees_the_slot(engine: Engine, pool: str, topic: str, gate: str) -> None:
    engine.worker(pool, 1)
    request = engine.collectors.request(topic, deadline=60, only=[topic])
    until(lambda: engine.noted(gate), "the collector runs")
    request.cancel()
    assert request.wait(5).outcomes[topic].state == "cancelled"
    other = engine.collectors.request("python", deadline=30).wait()
    assert other.outcomes["steady"].state == "ok"
    assert engine.noted("process") == 1


@pytest.mark.promise(7)
def test_code_that_can_not_be_ended_ends_with_its_process(engine: Engine) -> None:
    """The child is terminated, where the pool has one."""
    engine.worker("prefork", 1)
    request = engine.collectors.request("sleep", deadline=60, only=["sleeps_in_c"])
    until(lambda: engine.noted("sleeps-in"), "it sleeps")
    pid = int((engine.notes / "sleeps-in").read_text())
    request.cancel("enough", by="ann")
    until(lambda: not psutil.pid_exists(pid), "its process is gone", within_s=15)
    report = request.report()
    assert (report.state, report.error.message) == ("cancelled", "cancelled by ann: enough")
    assert engine.collectors.request("python", deadline=30).wait().state == "complete"


@pytest.mark.promise(7)
def test_code_that_can_be_ended_leaves_its_process(engine: Engine) -> None:
    engine.worker("prefork", 1)
    request = engine.collectors.request("gated", deadline=60, only=["gated"])
    until(lambda: engine.noted("gate-waits"), "it runs")
    pids = _children(engine)
    request.cancel()
    assert engine.collectors.request("python", deadline=30).wait().state == "complete"  # in the slot that is free now
    assert _children(engine) == pids


def _children(engine: Engine) -> set[int]:
    return {child.pid for worker in engine._workers for child in psutil.Process(worker.pid).children()}


def test_nothing_is_left_in_the_way_of_others_when_many_were_cancelled(engine: Engine) -> None:
    """All workers were off; their messages are in the broker, and cost whoever gets them one question each."""
    many = engine.many("short", 300, deadline_s=60)
    until(lambda: engine.waiting() >= 300, "they wait in the broker")
    many.cancel("nobody waits for it")
    engine.worker("threads", 2)
    assert engine.collectors.request("python", deadline=30).wait().state == "complete"
    until(lambda: engine.waiting() == 0, "the messages are gone")
    assert engine.noted("short") == 0
    states = {(str(o.state), o.attempts) for o in many.report().outcomes.values()}
    assert states == {("cancelled", 0)}


@pytest.mark.promise(3)
def test_first_ends_the_others_also_one_that_runs(engine: Engine) -> None:
    engine.worker("prefork", 2)
    request = engine.collectors.request("gated", deadline=60, first=1, only=["steady", "gated"])
    report = request.wait(30)
    assert (report.state, report.outcomes["steady"].state, report.outcomes["gated"].state) == (
        "complete", "ok", "skipped",
    )  # fmt: skip
    others = [engine.collectors.request("python", deadline=30) for _ in range(2)]
    assert [other.wait().state for other in others] == ["complete", "complete"]


def test_a_policy_that_has_become_impossible_ends_it_at_once(engine: Engine) -> None:
    engine.worker("threads", 4)
    began_at = time.monotonic()
    request = engine.collectors.request("raise gated", deadline=60, min_ok=3, only=["steady", "raises", "gated"])
    report = request.wait(30)
    assert time.monotonic() - began_at < 20, "it did not wait for the deadline"
    assert [str(o.state) for o in report.outcomes.values()] == ["ok", "failed", "skipped"]
    assert (report.state, report.error.message) == ("failed", "1 answered, and min_ok asks for 3")
    assert engine.noted("process") == 0


@pytest.mark.parametrize("stage", list(STAGES))
def test_cancel_in_a_stage(engine: Engine, stage: str) -> None:
    engine.worker("prefork", 1)
    request = engine.collectors.request(f"{stage}-gated", deadline=60)
    until(lambda: engine.noted("gate-waits"), "the stage runs")
    request.cancel("enough")
    report = request.wait(5)
    assert (report.state, report.stages[stage].state, report.result) == ("cancelled", "cancelled", None)
    assert report.outcomes["steady"].state == "ok"
    engine.write("gate")
    assert engine.collectors.request("python", deadline=30).wait().state == "complete"
    later = list(STAGES)[list(STAGES).index(stage) + 1 :]
    assert request.report().state == "cancelled"
    assert [engine.noted(name) for name in later] == [1] * len(later)  # the other request's, and no more


def test_cancel_while_a_retry_waits(engine: Engine) -> None:
    engine.worker()
    engine.collectors.configure(backoff_s=30.0)
    request = engine.collectors.request("raise", deadline=60, only=["raises"])
    until(lambda: request.report().outcomes["raises"].state == "retrying", "the retry waits")
    request.cancel()
    assert request.report().outcomes["raises"].state == "cancelled"
    engine.collectors.configure(backoff_s=None)


def test_cancel_comes_too_late(engine: Engine) -> None:
    engine.worker()
    request = engine.collectors.request("python", deadline=20)
    request.wait()
    assert request.cancel() == "complete"
    assert request.report().state == "complete"


def test_unknown_is_said_and_never_waited_for(engine: Engine) -> None:
    with pytest.raises(RequestUnknown, match="holds no request"):
        engine.collectors.get("7a1c1e6e-51c5-4b53-8b5e-000000000000")
    with pytest.raises(RequestError, match="a request's id is a string, not None"):
        engine.collectors.get(None)  # type: ignore[arg-type]


def test_wait_gives_up_and_the_request_goes_on(engine: Engine) -> None:
    request = engine.collectors.request("python", deadline=60)
    with pytest.raises(WaitTimeout, match="still collecting"):
        request.wait(0.2)
    with pytest.raises(RequestError, match="timeout is a number of seconds, not '5'"):
        request.wait("5")  # type: ignore[arg-type]
    engine.worker()
    assert request.wait().state == "complete"
