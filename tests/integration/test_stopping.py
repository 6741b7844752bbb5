"""A worker that is told to stop: what it ran goes on elsewhere, and nobody is blamed for it."""

from __future__ import annotations

import signal

import pytest

from tests.integration.conftest import Engine, until


@pytest.mark.heavy
def test_a_cold_stop_hands_runs_back(engine: Engine) -> None:
    """SIGQUIT ends pool children with a SystemExit in the middle of a run; the collector did not raise that."""
    first = engine.worker("prefork", 1)
    request = engine.collectors.request("gated", deadline=60, only=["gated"])
    until(lambda: engine.noted("gate-waits"), "the collector runs")
    first.send_signal(signal.SIGQUIT)
    first.wait(15)
    assert request.report().outcomes["gated"].state == "queued"
    engine.write("gate")
    engine.worker("prefork", 1)
    outcome = request.wait().outcomes["gated"]
    assert (outcome.state, outcome.attempts) == ("ok", 2)
