"""How long a whole worker's death on an otherwise idle queue costs: what it had started, and what only reserved."""

from __future__ import annotations

import time

import pytest

from celery_collectors import Report, Request
from celery_collectors.model import RequestState
from tests.faults.matrix import Matrix, judge
from tests.integration.conftest import Engine, until

STARTED_S, RESERVED_S = 30, 90


def _check_recovery(engine: Engine, matrix: Matrix, pool: str) -> None:
    first = engine.worker(pool, 1, "--prefetch-multiplier", "4")
    started = engine.collectors.request("gated", deadline=150, only=["gated"])
    until(lambda: engine.noted("gate-waits"), "the only slot is taken")
    reserved = [engine.collectors.request("python", deadline=150) for _ in range(3)]
    until(lambda: engine.waiting() == 0, "the worker has reserved the others")
    engine.kill(first)
    killed_at = time.time()
    engine.write("gate")
    engine.worker(pool, 1)
    who = "a whole worker" if pool == "prefork" else f"a whole worker with {pool}"
    took_s = _check(matrix, f"{who} is killed on an idle queue: a run that it had started", [started], killed_at)
    assert took_s < STARTED_S
    assert started.report().outcomes["gated"].attempts == 2
    took_s = _check(matrix, f"{who} is killed on an idle queue: runs that it had only reserved", reserved, killed_at)
    assert took_s < RESERVED_S
    assert (engine.noted("steady"), engine.noted("process")) == (3, 4)


def _check(matrix: Matrix, fault: str, requests: list[Request], killed_at: float) -> float:
    """Check that all were answered; from the kill to the last answer, in seconds."""
    verdicts = [judge(request, _is_right) for request in requests]
    took_s = max(request.report().finished_at.timestamp() for request in requests) - killed_at
    matrix.check(fault, verdicts, recovery_s=round(took_s, 1))
    return took_s


def _is_right(report: Report) -> bool:
    return report.state == RequestState.COMPLETE and report.result["items"] == 1


@pytest.mark.heavy
@pytest.mark.alone
@pytest.mark.setups("embedded", "rabbitmq")
def test_a_whole_worker_is_killed_on_an_idle_queue(engine: Engine, matrix: Matrix) -> None:
    """On a Redis-protocol broker what was reserved stays hidden for an hour; the ledger sees that nobody came."""
    _check_recovery(engine, matrix, "prefork")


@pytest.mark.matrix
@pytest.mark.alone
@pytest.mark.setups("redis")
def test_a_whole_worker_is_killed_on_redis(engine: Engine, matrix: Matrix) -> None:
    _check_recovery(engine, matrix, "prefork")


@pytest.mark.matrix
@pytest.mark.alone
def test_a_whole_worker_with_threads_is_killed_on_an_idle_queue(engine: Engine, matrix: Matrix) -> None:
    _check_recovery(engine, matrix, "threads")
