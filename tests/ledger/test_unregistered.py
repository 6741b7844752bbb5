"""A message that came to a worker without the code for it: its run comes again, until its time is over."""

from __future__ import annotations

from tests.ledger.world import World


def test_it_comes_again_after_a_pause_and_nothing_is_counted_against_it(world: World) -> None:
    request_id = world.open("a")
    world.published(request_id, "0")
    assert world.ledger.unregistered(world.order(request_id, "0"), "old@host").kept
    assert world.watch(0.4, every=0.2) == []
    (order,) = world.watch(5)
    assert (order.ref, order.delivery) == ("0", 1)
    grant = world.ledger.start(order, owner="p1", worker="w", token="t")
    assert (grant.go, grant.attempt) == (True, 1)


def test_a_confirmation_that_is_slower_than_the_worker_does_not_hide_it(world: World) -> None:
    request_id = world.open("a")
    world.ledger.unregistered(world.order(request_id, "0"), "old@host")
    world.published(request_id, "0")
    assert [order.ref for order in world.watch(5)] == ["0"]


def test_what_runs_or_was_handed_out_anew_is_left_alone(world: World) -> None:
    request_id = world.open("a", "b")
    world.ledger.start(world.order(request_id, "0"), owner="p1", worker="w", token="t")
    assert not world.ledger.unregistered(world.order(request_id, "0"), "old@host").kept
    assert not world.ledger.unregistered(world.order(request_id, "1", delivery=2), "old@host").kept


def test_at_the_deadline_the_error_says_that_nobody_knew_it(world: World) -> None:
    request_id = world.open("a", deadline_s=8)
    for _ in range(3):
        world.ledger.unregistered(world.order(request_id, "0"), "old@host")
        world.watch(3)
    error = world.reader.report(request_id).outcomes["a"].error
    assert error is not None
    assert error.message.startswith("no worker that was given it knows the task t.a (the last was old@host)")


def test_the_same_of_a_stage(world: World) -> None:
    request_id = world.open("a", stages=["gathering"], finish_s=5)
    grant = world.ledger.start(world.order(request_id, "0"), owner="p1", worker="w", token="t")
    (order,) = world.ledger.settle(grant.held, "ok", items=1).orders
    world.ledger.published([order])
    world.ledger.unregistered(world.order(request_id, "gathering", stamp=order.stamp), "old@host")
    world.watch(60)
    error = world.reader.report(request_id).error
    assert error is not None
    assert "knows the task t.gathering" in error.message
