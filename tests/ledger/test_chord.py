"""A chord's members: made from stored calls, with a priority of their own, in chains, due later, or asked for again."""

from __future__ import annotations

import pytest

from celery_collectors.errors import LedgerUnavailable
from celery_collectors.ledger import Grant, asking
from celery_collectors.model import ErrorInfo, Policy
from tests.ledger.test_open import BreaksAfter
from tests.ledger.test_settle import items
from tests.ledger.world import World, callback, label, oops, run, stage, step

REVOKED = ErrorInfo(type="Revoked", kind="system", message="its task was revoked", retryable=True)


def chain(world: World, *steps: str, **changes: object) -> str:
    """A request of one chain (``a``, then these) and one more run."""
    return world.open(run("a", more=tuple(step(name) for name in steps), **changes), "other", deadline_s=300)


def taken_over(world: World, slow: Grant, **changes: int) -> Grant:
    """The lease of a silent process lapses, and another takes its run."""
    world.watch(25)
    return world.start(slow.request_id, slow.ref, process="p2", **changes)


# Calls ------------------------------------------------------------------------------------------------


def test_what_a_message_is_made_from_is_in_the_ledger(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "OPEN_AT_ONCE", 1)
    calls = {"0": "call a", "1": "call b", "gathering": "call back", "link:0": "call on"}
    runs = run("a", call=True), run("b", call=True, timeout_ms=90_000), run("own")
    request_id = world.open(*runs, stages=[callback()], calls=calls, deadline_s=60)
    world.clock.forward(15)
    orders = world.sweep()
    assert [(order.ref, order.call, order.time_left_ms) for order in orders] == [
        ("0", "call a", 10_000), ("1", "call b", 45_000), ("2", "", 0),
    ]  # fmt: skip
    (order,) = world.collect(request_id, "0", "1", "2").orders
    assert (order.ref, order.call) == ("gathering", "call back")
    world.collect(request_id, "gathering")
    assert world.client.pttl(world.ledger.key("calls", request_id)) > 0


def test_calls_of_what_is_never_sealed_go_away_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "OPEN_AT_ONCE", 1)
    dying, times = BreaksAfter(world.client, world.settings, now_ms=world.clock), {"deadline_s": 30, "finish_s": 60}
    dying.calls_left = 2  # the first fixes the shards
    with pytest.raises(LedgerUnavailable):
        dying.open("half", topic="t", runs=[run("a", call=True), run("b")], calls={"0": "call"}, **times)
    assert 0 < world.client.pttl(world.ledger.key("calls", "half")) <= 3_600_000
    world.open_as("half", run("a", call=True), "b", calls={"0": "call"})
    assert world.client.pttl(world.ledger.key("calls", "half")) == -1


def test_a_member_has_a_priority_of_its_own(world: World) -> None:
    request_id = world.open(run("a", priority="high"), "b")
    world.clock.forward(15)
    orders = world.sweep()
    assert [order.priority for order in orders] == ["high", "normal"]
    world.ledger.published(orders)
    assert (set(world.waiting(request_id, "high")), set(world.waiting(request_id))) == ({"0"}, {"1"})
    world.start(request_id)
    assert world.waiting(request_id, "high") == {}
    marks = world.client.hkeys(f"{world.ledger.shard_of(request_id)}:marks")
    assert [mark.decode().rpartition(":")[0] for mark in marks] == ["q:high"]


def test_a_callback_is_a_message_also_if_it_is_known_to_be_short(world: World) -> None:
    request_id = world.open("a", stages=[callback(priority="low")], calls={"gathering": "call back"})
    world.client.hset(f"{world.ledger.shard_of(request_id)}:times", "t.callback", "5")
    reply = world.succeed(world.start(request_id), in_place="t")
    assert (reply.next, [(order.ref, order.call) for order in reply.orders]) == (None, [("gathering", "call back")])
    assert reply.orders[0].priority == "low"


def test_a_declared_stage_goes_on_in_place_with_its_call_also_if_a_reply_was_lost(world: World) -> None:
    request_id = world.open("a", stages=[callback(declared=True)], calls={"gathering": "call back"})
    world.client.hset(f"{world.ledger.shard_of(request_id)}:times", "t.callback", "5")
    grant = world.start(request_id)
    for _ in range(2):
        reply = world.succeed(grant, ["a"], in_place="t")
        assert reply.next is not None
        assert (reply.next.ref, reply.next.call, reply.next.asked) == ("gathering", True, "call back")
        assert reply.orders == []


def test_a_chord_over_nothing_goes_to_its_callback_at_once(world: World) -> None:
    opened = world.ledger.open(
        "none", topic="t", runs=[], stages=[callback()], policy=Policy(min_ok=0), deadline_s=30, finish_s=60,
        calls={"gathering": "call back"},
    )  # fmt: skip
    assert [(order.ref, order.call, order.delivery) for order in opened.orders] == [("gathering", "call back", 1)]
    assert (bool(opened), world.state("none")) == (True, "gathering")
    assert list(world.reader.items_before("none", "gathering")) == []
    assert [order.ref for order in world.watch(15)] == ["gathering"], "whoever opened it may have died"
    assert world.collect("none", "gathering").kept
    assert world.state("none") == "complete"


def test_opening_a_chord_over_nothing_again_changes_nothing(world: World) -> None:
    for opens in (True, False):
        assert world.open_as("none", stages=[callback()], policy=Policy(min_ok=0)) is opens
    assert world.record("none", "gathering")["state"] == "queued"


# Chains -----------------------------------------------------------------------------------------------


def test_a_chain_goes_on_in_the_same_run(world: World) -> None:
    more = step("b", priority="high", timeout_ms=5000), step("c")
    request_id = world.open(run("a", call=True, more=more), stages=["process"], calls={"0": "steps"})
    first = world.start(request_id)
    reply = world.succeed(first)
    assert (reply.kept, reply.state) == (True, "queued")
    (order,) = reply.orders
    assert (order.ref, order.task, order.delivery, order.step, order.priority) == ("0", "t.b", 2, 1, "high")
    assert (order.call, order.time_left_ms) == ("steps", 5000)
    second = world.start(request_id, delivery=2)
    assert (second.attempt, second.step, second.ends_in_ms) == (2, 1, 5000)
    (order,) = world.succeed(second).orders
    assert (order.task, order.delivery, order.step, order.priority) == ("t.c", 3, 2, "normal")
    third = world.start(request_id, delivery=3)
    assert [order.ref for order in world.succeed(third).orders] == ["process"]
    assert items(world, request_id) == [label(third)], "an answer is the last one's"


def test_the_value_of_a_step_is_kept_and_is_no_answer(world: World) -> None:
    request_id = chain(world, "b")
    first = world.start(request_id)
    world.succeed(first)
    assert list(world.stored("values", request_id)) == ["0:0"]
    assert list(world.reader.items_of(request_id, ["0:0"])) == [label(first)]
    head = world.head(request_id)
    assert (head["answered"], head["open"], world.reader.answered(request_id)) == ("0", "2", [])
    outcome = world.reader.report(request_id).outcomes["a"]
    assert (outcome.state, outcome.items, outcome.bytes) == ("queued", 0, 0)


def test_a_step_that_fails_leaves_no_answer(world: World) -> None:
    request_id = chain(world, "b")
    world.succeed(world.start(request_id))
    assert world.fail(world.start(request_id, delivery=2)).state == "failed"
    outcome = world.reader.report(request_id).outcomes["a"]
    assert (outcome.state, outcome.items, world.reader.answered(request_id)) == ("failed", 0, [])


def test_the_message_of_an_earlier_step_is_refused(world: World) -> None:
    request_id = chain(world, "b")
    world.collect(request_id, "0")
    assert world.start(request_id).reason == "superseded"
    assert world.start(request_id, delivery=2).go


def test_what_a_step_hands_on_comes_again_until_it_is_published(world: World) -> None:
    request_id = chain(world, "b")
    world.collect(request_id, "1", "0")
    assert [(order.ref, order.delivery, order.step) for order in world.watch(15)] == [("0", 2, 1)]


def test_a_success_of_an_earlier_step_is_late(world: World) -> None:
    request_id = chain(world, "b", timeout_ms=60_000)
    slow = world.start(request_id)
    quick = taken_over(world, slow)
    assert world.succeed(quick).kept
    assert world.succeed(slow).reason == "late"
    last = world.start(request_id, delivery=2)
    assert world.succeed(slow).reason == "late"
    assert world.succeed(last).state == "ok"
    assert items(world, request_id) == [label(last)]


def test_settling_a_step_twice_says_the_same(world: World) -> None:
    request_id = chain(world, "b", "c")
    grant = world.start(request_id)
    replies = [world.succeed(grant), world.succeed(grant)]
    assert [(reply.kept, reply.state) for reply in replies] == [(True, "queued")] * 2
    assert (world.record(request_id)["step"], len(replies[1].orders)) == (1, 0)
    assert "late" not in world.head(request_id)


def test_a_step_given_up_too_early_moves_the_chain_on(world: World) -> None:
    request_id = chain(world, "b", retries=1)
    grant = world.start(request_id)
    assert world.fail(grant, "timed_out").state == "retrying"
    assert [(order.delivery, order.step) for order in world.succeed(grant).orders] == [(2, 1)]
    assert world.watch(10) == [], "the retry is off"
    assert world.start(request_id, delivery=2).go


def test_each_step_has_failures_and_crashes_of_its_own(world: World) -> None:
    request_id = chain(world, "b", retries=1, timeout_ms=60_000)
    world.fail(world.start(request_id))
    world.watch(2)
    for _ in range(2):
        world.start(request_id)
        world.ledger.died(world.order(request_id, "0"), "p1")
    world.collect(request_id, "0")
    record = world.record(request_id)
    assert (record["failures"], record["crashes"], record["retries"]) == (0, 0, 0)
    assert world.fail(world.start(request_id, delivery=2)).state == "failed", "the next one has no retries"


def test_nobody_takes_a_run_for_lost_that_has_gone_on_in_another_queue(world: World) -> None:
    request_id = world.open(run("a", more=(step("b", queue="other"),)), "other")
    slow = world.start(request_id)
    world.ledger.settle(slow.held, "queued")
    world.published(request_id, "0")
    assert world.succeed(slow).orders[0].queue == "other"
    assert world.waiting(request_id) == {}


def test_a_death_at_an_earlier_step_changes_nothing(world: World) -> None:
    request_id = chain(world, "b")
    world.collect(request_id, "0")
    world.start(request_id, delivery=2)
    assert not world.ledger.died(world.order(request_id, "0"), "p1").kept
    assert world.ledger.died(world.order(request_id, "0", delivery=2), "p1").kept


# Not twice --------------------------------------------------------------------------------------------


def _lost(world: World, request_id: str) -> None:
    outcome = world.reader.report(request_id).outcomes["a"]
    assert outcome.error is not None
    assert (outcome.state, outcome.attempts, outcome.error.retryable) == ("lost", 1, False)
    assert "not run again" in outcome.error.message
    assert world.state(request_id) == "collecting", "the other goes on"


def test_what_must_not_run_twice_is_lost_when_its_process_dies(world: World) -> None:
    request_id = chain(world, once=True, retries=3)
    world.start(request_id)
    assert world.ledger.died(world.order(request_id, "0"), "p1").orders == []
    _lost(world, request_id)


def test_what_must_not_run_twice_is_lost_when_its_lease_lapses(world: World) -> None:
    request_id = chain(world, once=True, retries=3, timeout_ms=60_000)
    world.start(request_id)
    world.published(request_id, "1")
    assert world.watch(25) == []
    _lost(world, request_id)


def test_what_must_not_run_twice_is_lost_though_its_process_lives(world: World) -> None:
    request_id = chain(world, once=True, timeout_ms=60_000)
    world.start(request_id)
    other = world.start(request_id, "1").held
    for _ in range(6):
        world.watch(4)
        world.ledger.renew("p1", [other])
    assert world.record(request_id)["state"] == "lost"
    assert world.record(request_id)["crashes"] == 0


def test_what_must_not_run_twice_is_lost_when_it_is_handed_back(world: World) -> None:
    request_id = chain(world, once=True)
    reply = world.ledger.settle(world.start(request_id).held, "queued")
    assert (reply.kept, reply.state, reply.orders) == (True, "lost", [])
    _lost(world, request_id)


def test_a_callback_that_must_not_run_twice_fails_its_chord_when_its_process_dies(world: World) -> None:
    request_id = world.open("a", stages=[callback(once=True, retries=3)])
    world.collect(request_id, "0")
    world.start(request_id, "gathering")
    assert world.ledger.died(world.order(request_id, "gathering"), "p1").orders == []
    report = world.reader.report(request_id)
    assert (report.state, report.stages["gathering"].state) == ("failed", "lost")


def test_what_must_not_run_twice_is_published_again_before_it_has_begun(world: World) -> None:
    request_id = chain(world, once=True)
    assert {order.ref for order in world.watch(15)} == {"0", "1"}
    world.published(request_id, "0")
    assert world.start(request_id).go


def test_what_must_not_run_twice_does_when_it_asks_to(world: World) -> None:
    request_id = chain(world, once=True)
    assert world.again(world.start(request_id), 2).state == "retrying"
    world.watch(2)
    assert world.start(request_id).attempt == 2


def test_only_that_step_must_not_run_twice_which_says_so(world: World) -> None:
    request_id = world.open(run("a", more=(step("b", once=True), step("c")), timeout_ms=60_000), "other")
    for delivery, state in ((1, "queued"), (2, "lost")):
        world.start(request_id, delivery=delivery)
        world.ledger.died(world.order(request_id, "0", delivery=delivery), "p1")
        assert world.record(request_id)["state"] == state
        if state == "queued":
            world.succeed(world.start(request_id, delivery=delivery))


# When it asks to be tried again -----------------------------------------------------------------------


def test_a_task_that_asks_to_be_tried_again_says_when(world: World) -> None:
    request_id = world.open(run("a", call=True, retries=0, backoff_ms=60_000), calls={"0": "first"})
    for failures in (1, 2):
        reply = world.again(world.start(request_id), 7.5, b"call %d" % failures)
        assert (reply.state, reply.delay_ms) == ("retrying", 7500)
        assert world.start(request_id).reason == "not due"
        assert world.watch(7.4, every=7.4) == []
        (order,) = world.watch(0.1, every=0.1)
        assert (order.ref, order.failures) == ("0", failures)
        assert order.call == f"call {failures}"
    assert world.collect(request_id, "0").state == "ok"


def test_who_asks_without_another_call_gets_the_same(world: World) -> None:
    request_id = world.open(run("a", call=True), calls={"0": "first"})
    world.again(world.start(request_id), 0)
    (order,) = world.sweep()
    assert order.call == "first"
    world.fail(world.start(request_id), retryable=False)
    assert world.stored("calls", request_id) == {"0": b"first"}


def test_what_would_come_again_too_late_has_failed(world: World) -> None:
    request_id = world.open("a", deadline_s=30)
    assert world.again(world.start(request_id), 30).state == "failed"


def test_a_callback_may_ask_to_be_tried_again(world: World) -> None:
    request_id = world.open("a", stages=[callback()], calls={"gathering": "first"})
    world.collect(request_id, "0")
    assert world.again(world.start(request_id, "gathering"), 40, b"second").delay_ms == 40_000
    (order,) = world.watch(40, every=20)
    assert order.call == "second"
    assert world.collect(request_id, "gathering").state == "ok"


def test_who_asks_again_after_the_end_changes_no_call(world: World) -> None:
    request_id = world.open(run("a", call=True), calls={"0": "first"})
    grant = world.start(request_id)
    world.ledger.cancel(request_id)
    assert world.again(grant, 1, b"second").reason == "late"
    assert world.stored("calls", request_id) == {"0": b"first"}


# How it ended, seen from outside ----------------------------------------------------------------------


def test_a_revoked_run_ends_and_the_request_goes_on(world: World) -> None:
    request_id = world.open(run("a", retries=3), "b", stages=["process"])
    world.published(request_id, "0")
    assert world.ledger.died(world.order(request_id, "0"), None, "cancelled", REVOKED).kept
    assert (world.state(request_id), world.waiting(request_id)) == ("collecting", {})
    assert world.start(request_id).reason == "settled"
    world.collect(request_id, "1", "process")
    report = world.reader.report(request_id)
    outcome = report.outcomes["a"]
    assert (report.state, outcome.state, outcome.error) == ("partial", "cancelled", REVOKED)


def test_the_last_revoked_run_decides_the_request(world: World) -> None:
    request_id = world.open("a", "b", stages=["process"])
    world.collect(request_id, "1")
    reply = world.ledger.died(world.order(request_id, "0"), None, "cancelled", REVOKED)
    assert [order.ref for order in reply.orders] == ["process"]


def test_what_ran_into_a_hard_limit_has_ended_for_its_own_process_only(world: World) -> None:
    request_id = world.open(run("a", retries=3), "b")
    world.start(request_id, process="host:12:abc")
    for process in ("host:1", "host:123", "other:12"):
        assert not world.ledger.died(world.order(request_id, "0"), process, "timed_out", oops()).kept
    assert world.record(request_id)["state"] == "running"
    assert world.ledger.died(world.order(request_id, "0"), "host:12", "timed_out", oops()).kept
    assert world.record(request_id)["state"] == "timed_out"


@pytest.mark.parametrize(("ended", "state"), [("cancelled", "cancelled"), ("timed_out", "failed")])
def test_a_callback_that_was_ended_ends_its_request(world: World, ended: str, state: str) -> None:
    request_id = world.open("a", stages=[stage("gathering", retries=3)])
    world.collect(request_id, "0")
    world.start(request_id, "gathering")
    world.ledger.died(world.order(request_id, "gathering"), "p1", ended, REVOKED)
    assert world.state(request_id) == state
    assert world.due(request_id) == {}
