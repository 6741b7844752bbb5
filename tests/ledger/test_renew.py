"""renew, died, beat and leave: who lives, who holds what, and who does not any more."""

from __future__ import annotations

import uuid

import pytest

from celery_collectors.ledger import Ledger
from celery_collectors.ledger.reading import Reader
from celery_collectors.model import Policy
from tests.ledger.world import World, run


def test_a_renewed_lease_does_not_lapse(world: World) -> None:
    request_id = world.open(run("a", timeout_ms=100_000), deadline_s=300)
    held = world.start(request_id).held
    for _ in range(20):
        assert world.watch(4) == []
        assert world.ledger.renew("p1", [held]) == []
    assert world.record(request_id)["attempt"] == 1


def test_no_lease_is_renewed_past_the_time_limit(world: World) -> None:
    request_id = world.open(run("a", timeout_ms=9000))
    held = world.start(request_id).held
    world.clock.forward(8)
    world.ledger.renew("p1", [held])
    assert world.due(request_id)["0"] == 11_000


def test_what_a_process_should_no_longer_run_is_named(world: World) -> None:
    cancelled = world.start(world.open("a")).held
    world.ledger.cancel(cancelled.request_id)
    answered = world.start(world.open("a", "b")).held
    world.ledger.settle(answered, "ok")
    skipped = world.start(world.open("a", "b", policy=Policy(first=1))).held
    world.collect(skipped.request_id, "1")
    retried = world.start(world.open("a")).held
    world.change_head(retried.request_id, generation=2)
    gone = world.start(world.open("a")).held
    world.client.delete(world.ledger.key("request", gone.request_id))
    kept = world.start(world.open("a")).held

    found = world.ledger.renew("p1", [cancelled, answered, skipped, retried, gone, kept])
    assert {held.request_id: reason for held, reason in found} == {
        cancelled.request_id: "cancelled",
        answered.request_id: "ok",
        skipped.request_id: "skipped",
        retried.request_id: "superseded",
        gone.request_id: "unknown",
    }


def test_a_lease_that_another_has_is_not_renewed(world: World) -> None:
    request_id = world.open(run("a", timeout_ms=100_000), deadline_s=300)
    slow = world.start(request_id).held
    world.watch(25)
    world.start(request_id, process="p2")
    lease = world.due(request_id)["0"]
    world.clock.forward(5)
    assert [reason for _, reason in world.ledger.renew("p1", [slow])] == ["running"]
    assert world.due(request_id)["0"] == lease


def test_a_renewal_brings_nothing_back_among_what_is_due(world: World) -> None:
    request_id = world.open("a", deadline_s=5)
    held = world.start(request_id).held
    world.clock.forward(5)
    key = f"{world.ledger.shard_of(request_id)}:due"
    world.client.zrem(key, f"{request_id} 0")
    world.ledger.renew("p1", [held])
    assert "0" not in world.due(request_id)


def test_a_death_that_was_seen_frees_the_run_at_once(world: World) -> None:
    request_id = world.open("a")
    world.start(request_id, process="host:12:abc")
    reply = world.ledger.died(world.order(request_id, "0"), "host:12")
    assert (reply.kept, [order.ref for order in reply.orders]) == (True, ["0"])
    assert world.record(request_id)["crashes"] == 1
    assert world.start(request_id, process="p2").go


@pytest.mark.parametrize("owner", ["host:123:abc", "other12:abc", "host:1"])
def test_only_the_dead_process_loses_its_run(world: World, owner: str) -> None:
    request_id = world.open("a")
    world.start(request_id, process=owner)
    assert not world.ledger.died(world.order(request_id, "0"), "host:12").kept
    assert world.record(request_id)["state"] == "running"


@pytest.mark.parametrize("old", [{"generation": 2}, {"delivery": 2}])
def test_a_death_of_an_old_delivery_changes_nothing(world: World, old: dict[str, int]) -> None:
    request_id = world.open("a")
    world.start(request_id)
    assert not world.ledger.died(world.order(request_id, "0", **old), "p1").kept


def test_a_death_of_what_is_gone_changes_nothing(world: World) -> None:
    order = {"request_id": str(uuid.uuid4()), "ref": "0", "generation": 1, "delivery": 1}
    assert not world.ledger.died(order, "p1").kept


def test_a_death_after_the_answer_changes_nothing(world: World) -> None:
    request_id = world.open("a", "b")
    world.collect(request_id, "0")
    assert not world.ledger.died(world.order(request_id, "0"), "p1").kept
    assert world.record(request_id)["state"] == "ok"


def test_deaths_are_capped(world: World) -> None:
    request_id = world.open("a")
    for _ in range(3):
        world.start(request_id)
        world.ledger.died(world.order(request_id, "0"), "p1")
    assert world.reader.report(request_id).outcomes["a"].state == "lost"
    assert world.state(request_id) == "failed"


def test_workers_are_known_while_they_beat(world: World) -> None:
    beat = {"queues": ["q", "r"], "pool": "threads", "processes": 1}
    now_ms, found = world.ledger.beat("one", **beat, idle_s=2)
    assert now_ms == world.clock()
    assert [(w.worker, w.queues, w.idle_for_ms) for w in found] == [("one", ["q", "r"], 2000)]
    world.clock.forward(31)
    _, found = world.ledger.beat("two", **beat, idle_s=None)
    assert [(w.worker, w.idle_for_ms) for w in found] == [("two", None)]


def test_who_looks_at_the_workers_sees_how_long_each_is_idle_and_silent(world: World) -> None:
    ledger = Ledger(world.client, world.settings)  # by the server's own clock, as whoever looks has it
    beat = {"queues": ["q"], "pool": "threads", "processes": 1}
    ledger.beat("b", **beat, idle_s=60)
    ledger.beat("a", **beat, idle_s=None)
    busy, idle = Reader(ledger, world.store).workers()
    assert (busy.worker, busy.idle_for_ms, idle.worker) == ("a", None, "b")
    assert 60_000 <= idle.idle_for_ms < 120_000
    assert 0 <= busy.silent_ms <= idle.silent_ms < 60_000


def test_a_worker_that_leaves_is_gone_at_once(world: World) -> None:
    for worker in ("one", "two"):
        world.ledger.beat(worker, queues=["q"], pool="threads", processes=1, idle_s=None)
    world.ledger.leave("one")
    assert [beat.worker for beat in world.reader.workers()] == ["two"]


def test_a_death_of_another_process_changes_nothing(world: World) -> None:
    test_only_the_dead_process_loses_its_run(world, "other12:abc")
