"""Collectors that misbehave: each has its own outcome, which says what to do, and costs no other anything."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from celery_collectors import Report, Request
from celery_collectors.model import RequestState
from tests.faults import misbehaving_app
from tests.faults.matrix import Matrix, judge
from tests.integration.conftest import Engine, until

APP = misbehaving_app.__name__

RAISING = {
    # collector: (state, error's type, kind, what its message says)
    "raises_value_error": ("failed", "ValueError", "transient", "no such feed"),
    "permanent_error": ("failed", "PermanentError", "config", "the key was revoked"),
    "ignores": ("failed", "Ignore", "transient", "me"),
    "rejects": ("failed", "Reject", "transient", "not mine"),
    "retries": ("failed", "Retry", "transient", "later"),
    "system_exits": ("failed", "SystemExit", "transient", "3"),
    "interrupts": ("failed", "KeyboardInterrupt", "transient", "KeyboardInterrupt"),
    "unspeakable": ("failed", "Unspeakable", "transient", "its __str__ raised RuntimeError"),
    "asks_elsewhere": ("failed", "LedgerUnavailable", "transient", "another project's ledger"),
    "gives_text": ("failed", "BadItems", "config", "returned str where a list of items is wanted"),
    "gives_objects": ("failed", "BadItems", "config", r"item 1 of gives_objects \(object\) can't be stored"),
    "fails_half_way": ("failed", "ConnectionError", "transient", "reset by peer"),
    "async_exits": ("failed", "SystemExit", "transient", "3"),
    "async_cancels_itself": ("failed", "CancelledError", "transient", "by itself"),
}
_LATE = ("timed_out", "Timeout", "transient", "did not end within its 1.0 s")
HANGING = {
    "sleeps_on": _LATE,
    "waits_for_a_lock": _LATE,
    "waits_in_c": _LATE,
    "spins": _LATE,
    "never_stops_yielding": _LATE,
    "ignores_sigterm": _LATE,
    "async_can_not_be_cancelled": ("timed_out", "Timeout", "transient", "ran into its time limit"),
}
DEADLY = ("exits_at_once", "segfaults", "is_killed")
FORKING = (
    "forks_and_both_return",
    "forks_and_both_yield",
    "forks_and_the_child_raises",
    "forks_and_the_child_exits",
)


def ask(engine: Engine, *names: str, deadline: float = 30) -> Request:
    return engine.collectors.request("bad", deadline=deadline, only=list(names))


def came_to(report: Report, expected: dict[str, tuple[str, str, str, str]]) -> None:
    """Each of these has exactly this outcome."""
    for name, (state, kind_of_error, kind, words) in expected.items():
        outcome = report.outcomes[name]
        assert outcome.error is not None, name
        found = (str(outcome.state), outcome.error.type, outcome.error.kind)
        assert found == (state, kind_of_error, kind), (name, outcome.error)
        assert re.search(words, outcome.error.message), (name, outcome.error.message)
        assert outcome.attempts == 1, name


def as_ever(report: Report, *names: str) -> None:
    """Each of these did not notice anything: answered, at the first attempt."""
    for name in names:
        outcome = report.outcomes[name]
        assert (outcome.state, outcome.attempts) == ("ok", 1), (name, outcome)


def right(*checks: Callable[[Report], None]) -> Callable[[Report], bool]:
    def is_right(report: Report) -> bool:
        for check in checks:
            check(report)
        return True

    return is_right


@pytest.mark.promise(3, 4)
def test_each_failure_has_its_own_outcome_and_costs_no_other(engine: Engine, pool: str, matrix: Matrix) -> None:
    engine.worker(pool, 4, app=APP)
    expected = RAISING | HANGING
    request = ask(engine, *expected, "gives_one", "neighbour", "async_neighbour")
    is_right = right(
        lambda report: came_to(report, expected),
        lambda report: as_ever(report, "gives_one", "neighbour", "async_neighbour"),
        lambda report: assert_equal((report.state, report.result["items"]), (RequestState.PARTIAL, 3)),
    )
    matrix.check(f"collectors raise and hang in every way, on {pool}", [judge(request, is_right)])


def assert_equal(found: object, expected: object) -> None:
    assert found == expected


@pytest.mark.promise(1)
@pytest.mark.setups("embedded")
def test_one_that_outlives_the_deadline_is_timed_out_then(engine: Engine, pool: str, matrix: Matrix) -> None:
    engine.worker(pool, 2, app=APP)
    request = ask(engine, "outlives_the_deadline", "gives_one", deadline=2)
    late = {"outlives_the_deadline": ("timed_out", "Timeout", "transient", "at the deadline|within its [12].. s")}
    is_right = right(lambda report: came_to(report, late), lambda report: as_ever(report, "gives_one"))
    matrix.check(f"a collector outlives the deadline, on {pool}", [judge(request, is_right)])


@pytest.mark.promise(3, 4)
@pytest.mark.heavy
@pytest.mark.setups("embedded")
def test_a_poison_run_is_lost_after_its_crash_cap_and_takes_no_neighbour_with_it(
    engine: Engine, matrix: Matrix
) -> None:
    """Three kinds of death at once, in a pool whose other processes have work the whole time."""
    engine.worker("prefork", 4, app=APP)
    poison = ask(engine, *DEADLY, "gives_one", deadline=60)
    neighbours = [ask(engine, "neighbour", "async_neighbour", deadline=60) for _ in range(6)]

    def lost(report: Report) -> None:
        for name in DEADLY:
            outcome = report.outcomes[name]
            assert (outcome.state, outcome.attempts, engine.noted(name)) == ("lost", 3, 3), (name, outcome)
            assert "the process running it died 3 times" in outcome.error.message

    verdicts = [judge(poison, right(lost, lambda report: as_ever(report, "gives_one")))]
    # A coroutine shares its process with whatever that runs beside it, so it may have to begin again.
    alive = right(
        lambda report: as_ever(report, "neighbour"),
        lambda report: assert_equal(report.outcomes["async_neighbour"].state, "ok"),
    )
    verdicts += [judge(request, alive) for request in neighbours]
    matrix.check("poison runs (os._exit, a segmentation fault, the kernel's SIGKILL) in a pool", verdicts)
    assert engine.noted("neighbour") == 6


@pytest.mark.promise(4)
@pytest.mark.matrix
@pytest.mark.setups("embedded")
def test_a_poison_run_ends_a_whole_worker_of_threads(engine: Engine, matrix: Matrix) -> None:
    """A thread can't die alone. Whoever starts the worker again gets the neighbours' answers all the same.

    Whom it has struck twice is not beside it the third time.
    """
    neighbours = [ask(engine, "neighbour", deadline=200)]
    poison = ask(engine, "is_killed", deadline=200)
    neighbours.append(ask(engine, "neighbour", deadline=200))
    for _ in range(3):
        died = engine.worker("threads", 4, wait=False, app=APP)
        until(lambda died=died: died.poll() is not None, "the worker dies of it", 60)
    engine.worker("threads", 4, app=APP)
    lost = judge(poison, right(lambda report: assert_equal(report.outcomes["is_killed"].state, "lost")))
    alive = [judge(one, right(lambda r: assert_equal(r.outcomes["neighbour"].state, "ok"))) for one in neighbours]
    matrix.check("a poison run ends a threads worker three times", [lost, *alive])


@pytest.mark.heavy
@pytest.mark.parametrize("pool", ["prefork", pytest.param("threads", marks=pytest.mark.matrix)])
@pytest.mark.setups("embedded")
def test_one_that_eats_memory_meets_the_workers_limit(engine: Engine, pool: str, matrix: Matrix) -> None:
    engine.worker(pool, 2, app=APP, **{misbehaving_app.LIMIT: str(3 << 29)})
    requests = [ask(engine, "eats_memory", "neighbour", "gives_one", deadline=100) for _ in range(3)]
    expected = {"eats_memory": ("failed", "MemoryError", "transient", "MemoryError")}
    is_right = right(lambda report: came_to(report, expected), lambda report: as_ever(report, "neighbour", "gives_one"))
    matrix.check(f"a collector eats memory until there is none, on {pool}", [judge(r, is_right) for r in requests])


@pytest.mark.heavy
@pytest.mark.setups("embedded")
def test_one_that_prints_100_mb(engine: Engine, pool: str, matrix: Matrix) -> None:
    engine.worker(pool, 2, app=APP)
    request = ask(engine, "prints", "neighbour", "gives_one")
    is_right = right(lambda report: as_ever(report, "prints", "neighbour", "gives_one"))
    verdict = judge(request, is_right)
    log = engine.notes / "w0@test.log"
    assert log.stat().st_size > 100_000_000
    os.truncate(log, 0)
    matrix.check(f"a collector prints 100 MB, on {pool}", [verdict])


@pytest.mark.heavy
@pytest.mark.setups("embedded", "rabbitmq")
def test_one_that_forks(engine: Engine, pool: str, matrix: Matrix) -> None:
    """The child has no part in the run, whatever it does, and ends when the collector's code in it does."""
    engine.worker(pool, 2, app=APP)
    requests = [ask(engine, *FORKING, "neighbour") for _ in range(2)]
    is_right = right(lambda report: as_ever(report, *FORKING, "neighbour"))
    verdicts = [judge(request, is_right) for request in requests]
    pids = [int(pid) for pid in (engine.notes / "forked").read_text().split()]
    assert len(pids) == 2 * len(FORKING)
    until(lambda: not running(pids), "the children have ended", 15)
    matrix.check(f"a collector forks, and the child goes on, on {pool}", verdicts)


def running(pids: Sequence[int]) -> list[int]:
    """Those of these processes that have not ended; a zombie has."""
    states = {}
    for pid in pids:
        try:
            states[pid] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
    return [pid for pid, state in states.items() if state != "Z"]


# Hung processes are replaced -----------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.setups("embedded")
def test_a_pool_child_with_hung_threads_is_replaced(engine: Engine) -> None:
    engine.worker("prefork", 1, app=APP)
    workers = {ask(engine, "sleeps_on").wait().outcomes["sleeps_on"].worker for _ in range(4)}
    assert len(workers) == 2


@pytest.mark.heavy
@pytest.mark.parametrize("pool", ["threads", "solo"])
@pytest.mark.parametrize("name", ["sleeps_on", pytest.param("leaves_a_thread", marks=pytest.mark.matrix)])
@pytest.mark.setups("embedded", "rabbitmq")
def test_a_worker_with_hung_threads_starts_again_in_place(engine: Engine, pool: str, name: str, matrix: Matrix) -> None:
    """Three per slot; what runs meanwhile ends in peace, what comes meanwhile is served by the successor."""
    slots = 2 if pool == "threads" else 1
    worker = engine.worker(pool, slots, app=APP)
    hanging = [ask(engine, name, deadline=60) for _ in range(3 * slots)]
    requests = [ask(engine, "neighbour", "async_neighbour", deadline=90) for _ in range(4)]
    is_late = right(lambda report: came_to(report, {name: _LATE}))
    verdicts = [judge(request, is_late) for request in hanging]
    until(lambda: started_times(engine) == 2, "the worker starts again", 60)
    requests.append(ask(engine, "gives_one", "neighbour", deadline=60))
    all_ok = right(lambda report: as_ever(report, *report.outcomes))
    verdicts += [judge(request, all_ok) for request in requests]
    assert worker.poll() is None
    assert re.search(r"CRITICAL.* threads of this worker hang in code that did not end in time", engine.logs())
    assert {outcome.attempts for r in requests for outcome in r.report().outcomes.values()} == {1}
    matrix.check(f"hung threads fill a {pool} worker ({name}), which starts again", verdicts)


@pytest.mark.heavy
@pytest.mark.setups("embedded")
def test_a_worker_that_went_to_another_folder_starts_again_from_where_it_was_begun(engine: Engine) -> None:
    worker = engine.worker("solo", 1, "--pidfile", str(engine.notes / "pid"), app=APP, before=["--workdir", "tests"])
    for _ in range(3):
        ask(engine, "sleeps_on", deadline=60).wait()
    until(lambda: started_times(engine) == 2 or worker.poll() is not None, "the worker starts again", 60)
    as_ever(ask(engine, "gives_one", deadline=60).wait(), "gives_one")
    assert worker.poll() is None


def started_times(engine: Engine) -> int:
    return engine.logs().count("collectors: ledger ")


@pytest.mark.heavy
@pytest.mark.setups("embedded")
def test_a_worker_that_is_told_to_stop_stays_away_however_many_threads_hang(engine: Engine) -> None:
    worker = engine.worker("threads", 1, app=APP)
    for _ in range(2):
        ask(engine, "sleeps_on").wait()
    request = ask(engine, "outlives_the_deadline", deadline=5)
    until(lambda: request.report().outcomes["outlives_the_deadline"].state == "running", "it runs")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert "this process has 3 of those" in engine.logs()
    assert started_times(engine) == 1


# Event loops that do not turn ----------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["async_sleeps", pytest.param("async_spins", marks=pytest.mark.matrix)])
@pytest.mark.setups("embedded")
def test_a_coroutine_that_blocks_its_loop_is_timed_out_and_its_neighbours_answer(
    engine: Engine, pool: str, name: str, matrix: Matrix
) -> None:
    engine.worker(pool, 1, app=APP)
    neighbours = [ask(engine, "async_neighbour", deadline=60) for _ in range(3)]
    until(lambda: engine.noted("async_neighbour") == 3, "they run")
    blocking = ask(engine, name, "async_neighbour", deadline=60)

    def timed_out(report: Report) -> None:
        outcome = report.outcomes[name]
        assert (outcome.state, outcome.attempts, outcome.error.type) == ("timed_out", 1, "Timeout")
        assert "declare it with def instead of async def" in outcome.error.message
        assert outcome.run_s == pytest.approx(3, abs=1)

    def answered(report: Report) -> None:
        outcome = report.outcomes["async_neighbour"]
        assert outcome.state == "ok"
        assert outcome.attempts <= 2

    verdicts = [judge(blocking, right(timed_out, answered))]
    verdicts += [judge(request, right(answered)) for request in neighbours]
    took_s = max((r.report().finished_at - r.report().created_at).total_seconds() for r in [blocking, *neighbours])
    matrix.check(f"a coroutine blocks its event loop ({name}), on {pool}", verdicts, recovery_s=took_s)
    assert took_s < 15


@pytest.mark.heavy
@pytest.mark.setups("embedded")
def test_a_coroutine_that_blocks_for_a_while_still_answers(engine: Engine, matrix: Matrix) -> None:
    """Its neighbours go on elsewhere after 5 s; it has its own time."""
    engine.worker("prefork", 1, app=APP)
    blocking = ask(engine, "async_blocks_for_a_while", deadline=60)
    until(lambda: engine.noted("async_blocks"), "it blocks")
    neighbour = ask(engine, "async_neighbour", deadline=60)
    ok = right(lambda report: assert_equal({str(one.state) for one in report.outcomes.values()}, {"ok"}))
    verdicts = [judge(neighbour, ok), judge(blocking, ok)]
    matrix.check("a coroutine blocks its event loop for 8 s", verdicts)
    assert blocking.report().outcomes["async_blocks_for_a_while"].attempts == 1
    assert neighbour.report().finished_at < blocking.report().finished_at


@pytest.mark.heavy
@pytest.mark.parametrize("pool", [pytest.param("prefork", marks=pytest.mark.matrix), "threads"])
@pytest.mark.setups("embedded")
def test_a_process_with_blocked_loops_is_replaced(engine: Engine, pool: str) -> None:
    engine.worker(pool, 1, app=APP)
    workers = set()
    for _ in range(3):
        workers.add(ask(engine, "async_sleeps").wait().outcomes["async_sleeps"].worker)
    assert len(workers) == 1
    if pool == "threads":
        until(lambda: started_times(engine) == 2, "the worker starts again", 30)
        return
    ask(engine, "async_neighbour").wait()  # it looks at itself when it has done something
    assert ask(engine, "gives_one").wait().outcomes["gives_one"].worker not in workers
