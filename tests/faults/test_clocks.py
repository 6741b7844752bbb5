"""Clocks an hour apart change nothing, because time is the ledger's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.faults.matrix import Matrix
from tests.faults.servers import all_answered, in_flight
from tests.integration.conftest import ROOT, Engine, until

pytestmark = pytest.mark.timeout(150)
HOUR_S = 3600
WAYS = [
    pytest.param(HOUR_S, -HOUR_S, id="worker-ahead", marks=pytest.mark.heavy),
    pytest.param(-HOUR_S, HOUR_S, id="worker-behind", marks=pytest.mark.matrix),
]
CLIENT = """
import json, time
from tests.integration.engine_app import collectors
soon = collectors.request("gated", deadline=2, only=["gated"])
asked = [collectors.request(f"second-{number} flaky", deadline=40, priority="high") for number in range(10)]
print(json.dumps({"now": time.time(), "soon": soon.wait().to_dict(), "asked": [one.id for one in asked]}))
"""


def shifted(engine: Engine, shift_s: int) -> dict[str, str]:
    """The environment of a process whose clock is so far from ours."""
    path = os.pathsep.join([str(Path(__file__).parent / "clock"), engine.env()["PYTHONPATH"]])
    return {"PYTHONPATH": path, "CLOCK_SHIFT_S": str(shift_s)}


def ask(engine: Engine, shift_s: int) -> dict[str, Any]:
    """Requests of a client whose clock is so far from ours."""
    env = engine.env(**shifted(engine, shift_s))
    done = subprocess.run(
        [sys.executable, "-c", CLIENT], env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def seconds(rfc3339: str) -> float:
    """When that was."""
    return datetime.fromisoformat(rfc3339).timestamp()


@pytest.mark.promise(1)
@pytest.mark.parametrize(("worker_s", "client_s"), WAYS)
def test_clocks_are_hours_apart(engine: Engine, matrix: Matrix, worker_s: int, client_s: int) -> None:
    """One worker's clock is off one way and the client's the other; a second worker and we have the right time."""
    engine.worker("prefork", 2, **shifted(engine, worker_s))
    engine.worker("threads", 2)
    off = until(
        lambda: [w.clock_off_ms for w in engine.collectors.workers() if abs(w.clock_off_ms or 0) > 1e6],
        "the worker says how far its clock is off",
    )
    assert off == [pytest.approx(worker_s * 1000, abs=5000)]
    requests = in_flight(engine, 20, deadline_s=40)
    said = ask(engine, client_s)
    assert abs(said["now"] - time.time() - client_s) < 60
    took = [seconds(said["soon"][name]) for name in ("created_at", "finished_at")]
    assert 1.9 < took[1] - took[0] < 10, "its deadline of 2 s is kept"
    assert abs(took[0] - time.time()) < 60, "and told by the ledger's clock"
    requests += map(engine.collectors.get, said["asked"])
    verdicts = all_answered(requests, 60)
    attempts = {o.attempts for one in requests for n, o in one.report().outcomes.items() if n != "flaky"}
    assert attempts == {1}, "nothing was taken from anybody"
    which = "ahead" if worker_s > 0 else "behind"
    matrix.check(f"a worker's clock is an hour {which}, and a client's is an hour off the other way", verdicts)
