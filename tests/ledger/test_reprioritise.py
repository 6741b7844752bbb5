"""reprioritise: what waits is called for anew at another level, and messages from before are void."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from celery_collectors.ledger import Reply
from celery_collectors.model import Policy
from tests.ledger.test_retry import many_failed
from tests.ledger.world import World, callback, link, run


def test_what_waits_is_called_for_anew_and_older_messages_are_void(world: World) -> None:
    request_id = world.open("waits", "runs", "in hand")
    world.published(request_id, "0", "1")
    world.start(request_id, "1")
    orders = world.reprioritise(request_id, "high")
    assert [(o.ref, o.delivery, o.priority, o.level_given) for o in orders] == [
        ("0", 2, "high", True), ("2", 2, "high", True),
    ]  # fmt: skip
    assert world.start(request_id, "0").reason == "superseded"
    assert world.start_again(orders[0]).go
    assert world.record(request_id, "1")["state"] == "running"
    assert world.waiting(request_id) == {}


def test_it_waits_at_its_new_level(world: World) -> None:
    request_id = world.open("a")
    world.published(request_id, "0")
    (order,) = world.reprioritise(request_id, "low")
    world.ledger.published([order])
    assert (world.waiting(request_id), list(world.waiting(request_id, "low"))) == ({}, ["0"])
    world.start_again(order)
    assert world.waiting(request_id, "low") == {}


def test_a_confirmation_of_the_older_message_changes_nothing(world: World) -> None:
    request_id = world.open("a")
    world.reprioritise(request_id, "high")
    world.published(request_id, "0")
    assert (world.waiting(request_id), world.waiting(request_id, "high")) == ({}, {})
    assert world.due(request_id)["0"] == 15_000


def test_what_starts_later_has_the_new_level(world: World) -> None:
    request_id = world.open(run("a", retries=1), "b", stages=["process"])
    world.fail(world.start(request_id, "0"))
    world.start(request_id, "1")
    assert world.reprioritise(request_id, "high") == []
    (again,) = world.watch(2)
    assert (again.ref, again.priority) == ("0", "high")
    world.succeed(world.start_again(again))
    world.ledger.died(world.order(request_id, "1"), "p1")
    world.collect(request_id, "1")
    (orders,) = [world.watch(16)]
    assert {(order.ref, order.priority) for order in orders} == {("process", "high")}


def test_a_stage_that_waits_is_called_for_anew(world: World) -> None:
    request_id = world.open("a", stages=["gathering", "process"])
    world.collect(request_id, "0")
    orders = world.reprioritise(request_id, "high")
    assert [(order.ref, order.delivery) for order in orders] == [("gathering", 2)]
    assert world.start(request_id, "gathering").reason == "superseded"
    world.succeed(world.start_again(orders[0]))
    world.collect(request_id, "process")
    assert world.state(request_id) == "complete"


def test_the_same_level_again_changes_nothing(world: World) -> None:
    request_id = world.open("a")
    assert len(world.reprioritise(request_id, "high")) == 1
    assert world.reprioritise(request_id, "high") == []
    assert world.record(request_id)["delivery"] == 2


def test_what_is_not_due_yet_is_called_for_when_it_is(world: World) -> None:
    request_id = world.open("a", run("later", delay_ms=5000))
    orders = world.reprioritise(request_id, "high")
    assert [order.ref for order in orders] == ["0"]
    later = [order for order in world.watch(6) if order.ref == "1"]
    assert [(order.delivery, order.priority) for order in later] == [(1, "high")]


def test_a_chord_s_own_priorities_give_way(world: World) -> None:
    request_id = world.open(
        run("a", priority="7"), stages=[callback(priority="3")], links=[link("link", priority="1")],
        calls={"gathering": "c", "link:0": "c"},
    )  # fmt: skip
    (order,) = world.reprioritise(request_id, "low")
    assert order.priority == "low"
    replies = [world.succeed(world.start_again(order))]
    replies.append(world.succeed(world.start(request_id, "gathering")))
    assert [order.priority for reply in replies for order in reply.orders] == ["low", "low"]


@pytest.mark.parametrize("end", ["complete", "cancelled"])
def test_what_has_ended_is_refused(world: World, end: str) -> None:
    request_id = world.open("a")
    if end == "complete":
        world.collect(request_id, "0")
    else:
        world.ledger.cancel(request_id)
    (reply,) = world.ledger.reprioritise(request_id, "high")
    assert (reply.kept, reply.reason, reply.state) == (False, "state", end)
    (reply,) = world.ledger.reprioritise("nobody", "high")
    assert reply.state == "unknown"


def test_what_is_complete_is_refused(world: World) -> None:
    test_what_has_ended_is_refused(world, "complete")


def test_many_runs_are_called_anew_some_at_a_time(world: World) -> None:
    request_id = world.open(*(f"c[{number}]" for number in range(1200)))
    replies = list(world.ledger.reprioritise(request_id, "high"))
    assert [len(reply.orders) for reply in replies] == [500, 500, 200]
    assert "moving" not in world.head(request_id)
    assert world.due(request_id)[""] == 30_000


def test_what_a_client_that_died_left_is_called_anew_by_a_sweeper(world: World) -> None:
    request_id = world.open(*(f"c[{number}]" for number in range(1200)))
    next(iter(world.ledger.reprioritise(request_id, "high")))
    orders = world.sweep()
    assert (len(orders), {order.delivery for order in orders}) == (700, {2})
    assert world.due(request_id)[""] == 30_000


def test_a_change_of_mind_half_way_holds_for_all(world: World) -> None:
    request_id = world.open(*(f"c[{number}]" for number in range(1200)))
    world.published(request_id, *map(str, range(1200)))
    next(iter(world.ledger.reprioritise(request_id, "high")))
    orders = world.reprioritise(request_id, "low")
    assert len(orders) == 1200
    assert {order.priority for order in orders} == {"low"}
    assert world.waiting(request_id) == {}


def test_the_level_is_kept_over_a_retry_and_said_in_an_event(world: World) -> None:
    request_id = world.open("a", "b")
    world.reprioritise(request_id, "high")
    world.succeed(world.start(request_id, "0", delivery=2))
    world.fail(world.start(request_id, "1", delivery=2))
    (order,) = world.retry(request_id, "1")
    assert (order.priority, order.delivery) == ("high", 3)
    told = [(e.subject, e.state, e.priority) for e in world.reader.events(request_id) if e.priority]
    assert told == [("request", "collecting", "high")]


def test_a_void_message_says_nothing_of_how_far_its_queue_has_moved(world: World) -> None:
    slow = world.open("slow", priority="low")
    world.clock.forward(1)
    world.published(slow, "0")
    request_id = world.open("a")
    world.clock.forward(1)
    world.reprioritise(request_id, "low")
    world.start(request_id, "0", stamp=world.clock())  # came by the lane of normal, ahead of everything low
    world.clock.forward(60)
    marks = {key: stamp for shard in world.ledger.shards for key, stamp in _marks(world, shard).items()}
    assert marks == {}


def _marks(world: World, shard: str) -> dict[str, float]:
    world.client.delete(f"{shard}:lock")
    return world.ledger.claim(shard, sweeper="m").marks


def _thousand(world: World, **changes: Any) -> tuple[str, Iterator[Reply]]:
    """A request of many runs whose level is being changed, with more to do."""
    request_id = world.open(*(f"c[{number}]" for number in range(1200)), **changes)
    replies = world.ledger.reprioritise(request_id, "high")
    next(replies)
    return request_id, replies


def test_an_early_end_of_what_is_being_moved_does_not_wait_for_the_deadline(world: World) -> None:
    request_id, replies = _thousand(world, policy=Policy(first=1))
    world.succeed(world.start(request_id, "0", delivery=2))  # some of the others are skipped in the same call
    assert "closing" in world.head(request_id)
    list(replies)
    world.sweep()
    assert world.state(request_id) == "complete"


def test_what_is_being_reopened_and_moved_is_whole_though_its_client_died(world: World) -> None:
    request_id = many_failed(world, 1200)
    refs = [str(ref) for ref in range(1, 1200)]
    next(iter(world.ledger.retry(request_id, refs, generation=1, token="t", deadline_s=30, finish_s=60)))
    world.reprioritise(request_id, "high")
    world.sweep()
    assert world.head(request_id)["open"] == "1199"
    assert "again" not in world.head(request_id)
