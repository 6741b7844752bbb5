"""SIGKILL at every point of a run's and a stage's life: each stage commits once, with the right items, never early.

No function is called again whose work the ledger had heard of.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle

import pytest

from celery_collectors import Report, Request
from celery_collectors.model import RequestState
from tests.faults.crash_points import POINTS, Who
from tests.faults.dying_app import LINES, summary
from tests.faults.dying_world import World, is_in_order, world
from tests.faults.matrix import Matrix, Verdict, _stream, judge
from tests.integration.conftest import Engine

AT_ONCE = 6  # a whole worker's death is heard of after 20 s, so they die side by side
DEADLINE_S = 150.0
RIGHT = {topic: summary(["small", *LINES]) for topic in ("dying", "async")} | {"brief": summary(["small"] * 2)}
IN_WORDS: dict[tuple[Who, str], str] = {
    ("child", "prefork"): "a pool child is killed",
    ("worker", "prefork"): "a whole worker is killed",
    ("worker", "threads"): "a whole worker with threads is killed",
}
PACKS = {name for name, point in POINTS.items() if point.packs}
# What one request teaches about the next: each shard learns for itself, and busy machines make runs long.
STAGES_KNOWN = {"short_s": 1.0, "shards": 1, "message_s": 1e-6}
ALL_KNOWN = STAGES_KNOWN | {"message_s": 5.0, "pack_s": 30.0}
NOT_IN_A_CHORD = {name for name in POINTS if "coroutine" in name or "cleanup" in name or "process" in name} | {
    "between settle and the stage it goes on with",  # its callback is always a message
    "before the last advance",
    "after the last advance",
    *PACKS,  # neither are its members short ones of ours
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Who dies where, in which kind of flow."""

    point: str
    who: Who
    pool: str
    flow: str = "collectors"

    @property
    def fault(self) -> str:
        """The matrix's words for it."""
        member = {"in the collector": "in a member", "in the gathering": "in the callback"}
        where = self.point if self.flow == "collectors" else f"{member.get(self.point, self.point)}, in a chord"
        return f"{IN_WORDS[self.who, self.pool]} {where}"

    @property
    def calls(self) -> dict[str, int]:
        """How often each function is called, all in all."""
        stages = ["gathering"] if self.flow == "chord" else ["gathering", "cleanup", "process"]
        expected = {"collector": 1 if "coroutine" in self.point else 2} | dict.fromkeys(stages, 1)
        for again in POINTS[self.point].again:
            expected[again] += 1
        return expected

    @property
    def topic(self) -> str:
        """What is asked: stages run several at once only on what is small."""
        return "async" if "coroutine" in self.point else "brief" if "several" in self.point else "dying"

    @property
    def known(self) -> dict[str, float]:
        """Settings with which the point is met."""
        point = POINTS[self.point]
        return ALL_KNOWN if point.packs else STAGES_KNOWN if point.warm else {}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a case ended; the complaints are what the verdict does not say."""

    case: Case
    verdict: Verdict
    recovery_s: float
    complaint: str = ""


def live_through(engine: Engine, case: Case) -> Ended:
    """Let somebody die at a point, bring back a whole worker, as a supervisor does, and look at the answer."""
    with world(engine, case.point, case.who, **case.known) as here:
        if case.known:
            _warm_up(here, case)
        here.arm()
        request, is_right = _ask(here, case)
        worker = here.workers[0] if here.workers else here.worker(case.pool)
        struck_at = here.struck_at()
        if case.who == "worker":
            assert worker.wait(20) == -signal.SIGKILL
            here.worker(case.pool)
        verdict = judge(request, is_right)
        recovery_s = max(0.0, request.report().finished_at.timestamp() - struck_at) if verdict != "never" else 0.0
        if case.who == "child":
            assert worker.poll() is None, "its worker lives on"
        return Ended(case=case, verdict=verdict, recovery_s=recovery_s, complaint=_complaint(here, case))


def _warm_up(here: World, case: Case) -> None:
    here.worker(case.pool)
    request, is_right = _ask(here, case)
    assert judge(request, is_right) == "once"
    here.collectors.close()  # a client remembers for two seconds how long runs take; a new one asks
    here.forget_notes()


def _ask(here: World, case: Case) -> tuple[Request, Callable[[Report], bool]]:
    if case.flow == "chord":
        result = here.app.ask_chord(DEADLINE_S)
        right = RIGHT[case.topic]
        return result.request, lambda report: _is_right(result.request, report) and result.get(timeout=5) == right
    request = here.collectors.request(case.topic, deadline=DEADLINE_S)
    return request, lambda report: _is_right(request, report) and report.result == RIGHT[case.topic]


def _is_right(request: Request, report: Report) -> bool:
    return report.state == RequestState.COMPLETE and is_in_order(_stream(request))


def _complaint(here: World, case: Case) -> str:
    found = {name: len(here.noted(name)) for name in case.calls}
    more = {name: found[name] - times for name, times in case.calls.items()}
    if not any(more.values()):
        return ""
    if POINTS[case.point].beside and sorted(more.values()) == [*[0] * (len(more) - 1), 1]:
        return ""  # what came next had begun
    return f"{case.fault}: called {found}, not {case.calls}\n{here.logs()}"


def check_all(engine: Engine, matrix: Matrix, cases: Sequence[Case]) -> None:
    """Live through all cases, some at a time, and keep a row of each."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ended = list(pool.map(partial(live_through, engine), cases))
    for one in ended:
        matrix.add(one.case.fault, [one.verdict], recovery_s=round(one.recovery_s, 1))
    assert {one.case.fault: one.verdict for one in ended if one.verdict != "once"} == {}
    assert "\n".join(one.complaint for one in ended if one.complaint) == ""


@pytest.mark.promise(2)
@pytest.mark.heavy
@pytest.mark.setups("rabbitmq")
@pytest.mark.timeout(400)
def test_killed_at_every_point_in_turn(engine: Engine, matrix: Matrix) -> None:
    """Each point once: a child dies at the first, a whole worker at the second, one with threads at the third."""
    turns = zip(POINTS, cycle(IN_WORDS), strict=False)
    check_all(engine, matrix, [Case(point=point, who=who, pool=pool) for point, (who, pool) in turns])


@pytest.mark.promise(2)
@pytest.mark.heavy
@pytest.mark.setups("embedded")
@pytest.mark.timeout(400)
def test_a_child_killed_with_several_at_once(engine: Engine, matrix: Matrix) -> None:
    """Runs that share a message, and stages that are committed by one call."""
    check_all(engine, matrix, [Case(point=point, who="child", pool="prefork") for point in POINTS if point in PACKS])


@pytest.mark.promise(2)
@pytest.mark.matrix
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("who", "where"), list(IN_WORDS))
def test_killed_at_every_point(engine: Engine, matrix: Matrix, who: Who, where: str) -> None:
    check_all(engine, matrix, [Case(point=point, who=who, pool=where) for point in POINTS])


@pytest.mark.promise(2)
@pytest.mark.matrix
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("who", "where"), list(IN_WORDS))
def test_a_chord_killed_at_every_point(engine: Engine, matrix: Matrix, who: Who, where: str) -> None:
    points = [point for point in POINTS if point not in NOT_IN_A_CHORD]
    check_all(engine, matrix, [Case(point=point, who=who, pool=where, flow="chord") for point in points])
