"""Collectors that misbehave although they are known to be short, all in one message: as if each had its own."""

from __future__ import annotations

import pytest

from celery_collectors import Report
from celery_collectors.model import RequestState
from tests.faults import misbehaving_app
from tests.faults.matrix import Matrix, judge
from tests.faults.test_collectors import APP, DEADLY, RAISING, as_ever, ask, assert_equal, came_to, right
from tests.integration.conftest import Engine, until

SHORT_MS = 0.1


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """One whose ledger knows that all of them are short, as if each had run before."""
    declared = misbehaving_app.collectors.registry.collectors
    engine.know(SHORT_MS, *(collector.task.name for collector in declared.values()))
    return engine


@pytest.mark.promise(3, 4)
def test_each_failure_has_its_own_outcome_also_in_one_message(engine: Engine, pool: str, matrix: Matrix) -> None:
    """One message for those of threads, one for the coroutines."""
    request = ask(engine, *RAISING, "gives_one", "async_neighbour")
    until(lambda: engine.waiting() == 2, "they share them")
    engine.worker(pool, 2, app=APP)
    is_right = right(
        lambda report: came_to(report, RAISING),
        lambda report: as_ever(report, "gives_one", "async_neighbour"),
        lambda report: assert_equal((report.state, report.result["items"]), (RequestState.PARTIAL, 2)),
    )
    matrix.check(f"collectors raise in every way in one message, on {pool}", [judge(request, is_right)])


@pytest.mark.promise(3, 4)
@pytest.mark.heavy
@pytest.mark.setups("embedded")
def test_poison_runs_in_one_message_are_lost_and_no_neighbour_is(engine: Engine, matrix: Matrix) -> None:
    """os._exit, a segmentation fault and the kernel's SIGKILL: after the first death each goes alone."""
    request = ask(engine, *DEADLY, "gives_one", "raises_value_error", deadline=60)
    until(lambda: engine.waiting() == 1, "they share it")
    engine.worker("prefork", 2, app=APP)

    def lost(report: Report) -> None:
        for name in DEADLY:
            outcome = report.outcomes[name]
            assert (outcome.state, outcome.attempts) == ("lost", 3), (name, outcome)
            assert engine.noted(name) <= 3
        found = {name: str(report.outcomes[name].state) for name in ("gives_one", "raises_value_error")}
        assert found == {"gives_one": "ok", "raises_value_error": "failed"}

    matrix.check("poison runs and others in one message", [judge(request, right(lost))])
