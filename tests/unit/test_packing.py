"""Which runs share a message: a pure function of the plan and of what is known about its collectors."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_collectors.ledger import Order, RunPlan
from celery_collectors.model import Policy
from celery_collectors.plan import COROUTINES_AT_ONCE, SHORT_AT_ONCE, Pack, Plan, first_orders, messages_of
from celery_collectors.settings import Settings

SETTINGS = Settings(message_s=0.005, pack_s=0.05)
MESSAGE_MS, PACK_MS = SETTINGS.message_s * 1000, SETTINGS.pack_s * 1000
KNOWN_MS = {"quick": 0.2, "slowish": 4.9, "as long as its message": 5.0, "longer": 5.1, "long": 900.0, "waits": 900.0}
COROUTINES = frozenset({"waits", "waits, unknown"})
TASKS = [*KNOWN_MS, *COROUTINES, "unknown"]


def run(task: str, *, call: bool = False, delay_ms: int | None = None) -> RunPlan:
    return RunPlan(
        name=task, task=task, queue="q", retries=0, timeout_ms=30_000, backoff_ms=1, backoff_cap_ms=1,
        call=call, delay_ms=delay_ms,
    )  # fmt: skip


def plan_of(*runs: RunPlan) -> Plan:
    calls = {str(number): "c" for number, one in enumerate(runs) if one.call}
    return Plan(topic="t", runs=runs, stages=(), policy=Policy(), calls=calls, on_loop=COROUTINES)


def groups_of(*runs: RunPlan) -> list[tuple[int, ...]]:
    return messages_of(plan_of(*runs), KNOWN_MS, SETTINGS)


tasks = st.sampled_from(TASKS)
any_runs = st.builds(run, tasks, call=st.booleans(), delay_ms=st.sampled_from([None, None, 0, 5000]))
many_alike = st.builds(lambda one, count: [one] * count, any_runs, st.integers(1, 250))
plans = st.lists(many_alike, max_size=6).map(lambda some: plan_of(*(one for alike in some for one in alike)))
times = st.dictionaries(tasks, st.floats(0, 2 * PACK_MS))
settings = st.builds(
    lambda message_s, pack_s: Settings(message_s=message_s, pack_s=pack_s),
    st.sampled_from([0.001, 0.005, 0.2]),
    st.sampled_from([0.001, 0.05, 1.0]),
)


@given(plans, times, settings)
def test_laws(plan: Plan, known_ms: dict[str, float], settings: Settings) -> None:
    groups = messages_of(plan, known_ms, settings)
    due = [number for number, one in enumerate(plan.runs) if not one.delay_ms]
    assert sorted(number for group in groups for number in group) == due, "each that is due, once"
    assert groups == sorted(groups), "in the order asked"
    for group in groups:
        assert list(group) == sorted(group)
        if len(group) > 1:
            check_pack([plan.runs[number] for number in group], known_ms, settings)


def check_pack(runs: list[RunPlan], known_ms: dict[str, float], settings: Settings) -> None:
    assert not any(one.call or one.delay_ms for one in runs)
    on_loop = {one.task in COROUTINES for one in runs}
    assert len(on_loop) == 1, "coroutines are with coroutines"
    if on_loop == {True}:
        assert len(runs) <= COROUTINES_AT_ONCE
        return
    assert len(runs) <= SHORT_AT_ONCE
    assert all(known_ms.get(one.task, math.inf) <= settings.message_s * 1000 for one in runs)
    assert sum(known_ms[one.task] for one in runs) <= settings.pack_s * 1000


@given(plans, times, settings)
def test_nobody_is_left_out_of_a_pack_that_has_room(plan: Plan, known_ms: dict[str, float], settings: Settings) -> None:
    """Of each kind, the first of a later pack would have been too much for the one before it."""
    for on_loop, most in ((False, SHORT_AT_ONCE), (True, COROUTINES_AT_ONCE)):
        packs = [group for group in messages_of(plan, known_ms, settings) if is_packed(plan, group, known_ms, settings)]
        packs = [group for group in packs if (plan.runs[group[0]].task in COROUTINES) == on_loop]
        for one, following in pairwise(packs):
            ms = 0.0
            for number in (*one, following[0]):
                ms += 0.0 if on_loop else known_ms[plan.runs[number].task]
            assert len(one) == most or ms > settings.pack_s * 1000


def is_packed(plan: Plan, group: tuple[int, ...], known_ms: dict[str, float], settings: Settings) -> bool:
    """Whether it is of those that may share."""
    one = plan.runs[group[0]]
    is_short = known_ms.get(one.task, math.inf) <= settings.message_s * 1000
    return not one.call and (one.task in COROUTINES or is_short)


@pytest.mark.parametrize(
    ("task", "sizes"),
    [
        ("quick", [100, 100, 50]),
        ("slowish", [10] * 25),
        ("as long as its message", [10] * 25),
        ("longer", [1] * 250),
        ("long", [1] * 250),
        ("unknown", [1] * 250),
        ("waits", [50] * 5),
        ("waits, unknown", [50] * 5),
    ],
)
def test_how_many_share_one(task: str, sizes: list[int]) -> None:
    assert [len(group) for group in groups_of(*[run(task)] * 250)] == sizes


def test_coroutines_and_short_ones_have_packs_of_their_own() -> None:
    assert groups_of(run("quick"), run("waits"), run("unknown"), run("quick"), run("waits")) == [(0, 3), (1, 4), (2,)]


def test_a_call_of_a_chord_is_alone_also_where_its_collector_is_short() -> None:
    runs = run("quick", call=True), run("quick"), run("waits", call=True), run("quick")
    assert groups_of(*runs) == [(0,), (1, 3), (2,)]


def test_code_shares_no_message_where_one_s_crash_would_be_its_neighbours_last() -> None:
    settings = Settings(message_s=0.005, pack_s=0.05, crash_cap=1)
    assert messages_of(plan_of(*[run("quick")] * 3), KNOWN_MS, settings) == [(0,), (1,), (2,)]
    assert messages_of(plan_of(*[run("waits")] * 3), KNOWN_MS, settings) == [(0, 1, 2)]


def test_what_is_due_later_has_no_message_yet() -> None:
    assert groups_of(run("quick"), run("quick", delay_ms=1), run("unknown", delay_ms=1), run("quick")) == [(0, 3)]
    assert groups_of() == []


def test_a_pack_s_orders_are_those_that_its_runs_would_have_alone() -> None:
    plan = plan_of(run("quick"), run("waits"), run("unknown"), run("quick"), run("waits"), run("long"))
    alone = {order.ref: order for order in first_orders(plan, "r", "high") if isinstance(order, Order)}
    assert list(alone) == list("012345")
    assert list(first_orders(plan, "r", "high", messages_of(plan, KNOWN_MS, SETTINGS))) == [
        Pack((alone["0"], alone["3"]), on_loop=False),
        Pack((alone["1"], alone["4"]), on_loop=True),
        alone["2"],
        alone["5"],
    ]
