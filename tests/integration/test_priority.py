"""reprioritise: what waits goes first, though thousands were queued before it."""

from __future__ import annotations

import time

import pytest

from celery_collectors.errors import RefusedError, RequestError
from tests.integration.conftest import Engine, until


@pytest.mark.everywhere
@pytest.mark.parametrize(("runs", "level"), [(300, "high"), pytest.param(10_000, "high", marks=pytest.mark.heavy)])
def test_it_starts_next_though_so_many_wait_before_it(engine: Engine, runs: int, level: str) -> None:
    many = engine.many("short", runs, deadline_s=600)
    until(lambda: engine.waiting() >= runs, "all of them wait in the broker", within_s=60)
    urgent = engine.collectors.request("python", deadline=300)
    urgent.reprioritise(level)
    began_at = time.monotonic()
    engine.worker("threads", 2)
    report = urgent.wait(60)
    before = engine.noted("short")
    print(f"{runs} waited; {before} of them ran before it; {time.monotonic() - began_at:.1f} s with the worker's start")
    assert report.state == "complete"
    assert before <= 40, "no more than a worker reserves, and what its stages let by"
    many.cancel("the test is over")


@pytest.mark.everywhere
def test_what_is_put_last_lets_others_by(engine: Engine) -> None:
    many = engine.many("short", 300, deadline_s=600)
    until(lambda: engine.waiting() >= 300, "all of them wait in the broker", within_s=60)
    other = engine.collectors.request("python", deadline=300)
    many.reprioritise("low")
    engine.worker("threads", 2)
    assert other.wait(60).state == "complete"
    assert engine.noted("short") <= 40
    assert many.wait(120).state == "complete"
    assert engine.noted("short") == 300  # each once, though each had two messages


def test_what_runs_goes_on(engine: Engine) -> None:
    engine.worker("threads", 1)
    request = engine.collectors.request("gated", deadline=60, only=["gated"])
    until(lambda: engine.noted("gate-waits"), "it runs")
    request.reprioritise("high")
    engine.write("gate")
    report = request.wait()
    assert (report.state, report.outcomes["gated"].attempts, engine.noted("gate-waits")) == ("complete", 1, 1)


def test_what_can_not_be_done_is_refused(engine: Engine) -> None:
    engine.worker()
    request = engine.collectors.request("python", deadline=30)
    with pytest.raises(RequestError, match="low, normal, high, not 'urgent'"):
        request.reprioritise("urgent")
    request.wait()
    with pytest.raises(RefusedError, match="is complete: nothing of it waits"):
        request.reprioritise("high")
