"""A worker that is suspended, as in a paused container, for longer than its leases last; then it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import psutil
import pytest

from tests.faults.matrix import Matrix
from tests.faults.servers import all_answered, in_flight
from tests.integration.conftest import Engine, until

pytestmark = pytest.mark.timeout(240)


def signal_all(worker: subprocess.Popen[bytes], which: signal.Signals) -> None:
    """Send a signal to a worker and all its children."""
    main = psutil.Process(worker.pid)
    for process in [main, *main.children(recursive=True)]:
        os.kill(process.pid, which)


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    "for_s",
    [
        pytest.param(28, marks=[pytest.mark.heavy, pytest.mark.setups("embedded")]),
        pytest.param(60, marks=pytest.mark.matrix),
    ],
)
@pytest.mark.parametrize("pool", ["prefork", pytest.param("threads", marks=pytest.mark.matrix)])
def test_a_worker_is_suspended(engine: Engine, matrix: Matrix, pool: str, for_s: int) -> None:
    """What it held is done by another; what it says late changes nothing that was answered."""
    first = engine.worker(pool, 4)
    held = [engine.collectors.request(topic, deadline=120) for topic in ("gated", "agated", "process-gated")]
    until(lambda: engine.noted("gate-waits") == 2 and engine.noted("agate-waits"), "the first worker has them")
    requests = in_flight(engine, 20, deadline_s=120)
    signal_all(first, signal.SIGSTOP)
    suspended_at = time.monotonic()
    until(lambda: psutil.Process(first.pid).status() == psutil.STATUS_STOPPED, "it is suspended")
    engine.write("gate")
    engine.write("agate")
    engine.worker("prefork", 2)
    until(lambda: all(one.state == "complete" for one in held), "another has done it", 80)
    recovery_s = round(time.monotonic() - suspended_at, 1)
    ends = [one.report().finished_at for one in held]
    until(lambda: time.monotonic() > suspended_at + for_s, "it has been suspended for long", for_s)
    signal_all(first, signal.SIGCONT)
    until(lambda: "came too late" in engine.logs(), "the first worker comes back with what it held")
    requests += [engine.collectors.request(f"second-{number}", deadline=60) for number in range(5)]
    verdicts = all_answered(requests + held)
    assert [one.report().finished_at for one in held] == ends
    assert {one.report().outcomes["steady"].state for one in held} == {"ok"}
    assert first.poll() is None
    matrix.check(f"a worker is suspended for {for_s} s, then continued", verdicts, recovery_s=recovery_s)
