"""Messages that wait long, in the ledger and in the queue; workers and their processes that end in good order."""

from __future__ import annotations

import time

import pytest

from tests.integration.conftest import Engine, until


@pytest.mark.heavy
def test_requests_wait_in_the_ledger_while_the_broker_is_away(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted is not lost."""
    with monkeypatch.context() as away:
        away.setenv("CELERY_BROKER_URL", engine.setup.unreachable_url)
        engine.collectors.configure()
        request = engine.collectors.request("python", deadline=60)
        assert request.report().state == "collecting"
    engine.worker()
    assert request.wait().state == "complete"


@pytest.mark.heavy
@pytest.mark.setups("embedded")
@pytest.mark.timeout(300)
def test_ten_thousand_runs_behind_one_slow_worker(engine: Engine) -> None:
    """Backlog is not loss: hardly a message is sent twice, and the queue keeps moving."""
    engine.worker("threads", 1, "--prefetch-multiplier", "4")
    request = engine.many("short", 10_000, deadline_s=220)
    until(lambda: request.report().outcomes["short[0]"].state == "ok", "the queue moves")
    seen, ends_at = 0, time.monotonic() + 100
    while time.monotonic() < ends_at:
        before = seen
        until(lambda before=before: engine.noted("short") > before, "the queue keeps moving", 20)
        seen = engine.noted("short")
    request.cancel()
    done = engine.noted("short")
    waiting = engine.waiting()
    sent = waiting + done  # and the few that the worker has reserved
    print(f"{done} of 10,000 done after 100 s, {waiting} in the queue, {sent - 10_000} sent twice")
    assert 500 < done < 9_000
    assert sent - 10_000 < 100


@pytest.mark.heavy
def test_an_orderly_stop_hands_coroutines_back_at_once(engine: Engine, pool: str) -> None:
    """Nobody has to wait for the lease of a worker that was stopped in good order."""
    first = engine.worker(pool, 1)
    request = engine.collectors.request("agated", deadline=60, only=["agated"])
    until(lambda: engine.noted("agate-waits"), "the coroutine runs")
    first.terminate()
    assert first.wait(15) == 0
    assert request.report().outcomes["agated"].state == "queued"
    stopped_at = time.monotonic()
    engine.write("agate")
    engine.worker(pool, 1)
    outcome = request.wait().outcomes["agated"]
    assert (outcome.state, outcome.attempts) == ("ok", 2)
    assert time.monotonic() - stopped_at < 15


@pytest.mark.heavy
@pytest.mark.setups("embedded")
def test_a_child_that_is_recycled_lets_its_coroutines_finish(engine: Engine) -> None:
    """``--max-tasks-per-child 1`` would otherwise start every coroutine again and again."""
    engine.worker("prefork", 1, "--max-tasks-per-child", "1")
    report = engine.many("one_second", 3).wait()
    assert {outcome.attempts for outcome in report.outcomes.values()} == {1}
    assert report.state == "complete"
