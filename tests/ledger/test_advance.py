"""advance: the stages after collecting, each with one output, the winner's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ledger.stores import write
from tests.ledger.surroundings import REVOKED
from tests.ledger.world import World, label, run, stage

ALL = ("gathering", "cleanup", "process")
STATES = {"gathering": "gathering", "cleanup": "cleaning", "process": "processing"}


@pytest.mark.parametrize("stages", [(), ("process",), ("gathering", "process"), ("cleanup",), ALL])
def test_each_declared_stage_runs_in_its_order(world: World, stages: Sequence[str]) -> None:
    request_id = world.open("a", "b", stages=stages)
    assert world.start(request_id, "process").reason == "unknown"
    reply = world.collect(request_id, "0", "1")
    for ref in stages:
        assert world.state(request_id) == STATES[ref]
        assert [order.ref for order in reply.orders] == [ref]
        reply = world.collect(request_id, ref)
    assert world.state(request_id) == "complete"


def test_a_stage_gets_what_the_one_before_made(world: World) -> None:
    request_id = world.open("a", "b", stages=["cleanup", "process"])
    world.collect(request_id, "0", "1")
    assert list(world.reader.items_before(request_id, "cleanup")) == [f"{request_id}/0/1", f"{request_id}/1/1"]
    world.collect(request_id, "cleanup")
    assert list(world.reader.items_before(request_id, "process")) == [f"{request_id}/cleanup/1"]


def test_a_stage_that_made_nothing_hands_on_nothing(world: World) -> None:
    request_id = world.open("a", stages=["cleanup", "process"])
    world.collect(request_id, "0")
    value = write(world.store, "nothing", []).to_bytes()
    world.ledger.settle(world.start(request_id, "cleanup").held, "ok", value=value)
    assert list(world.reader.items_before(request_id, "process")) == []


def test_a_stage_commits_once(world: World) -> None:
    request_id = world.open("a", stages=["cleanup", "process"])
    world.collect(request_id, "0")
    slow = world.start(request_id, "cleanup")
    world.watch(25)
    quick = world.start(request_id, "cleanup", process="p2")
    assert (slow.attempt, quick.attempt) == (1, 2)
    assert world.succeed(quick).kept
    late = world.succeed(slow)
    assert (late.kept, late.reason) == (False, "late")
    assert list(world.reader.items_before(request_id, "process")) == [label(quick)]


def test_committing_twice_says_the_same(world: World) -> None:
    request_id = world.open("a", stages=["process"])
    world.collect(request_id, "0")
    grant = world.start(request_id, "process")
    assert [(reply.kept, reply.state) for reply in (world.succeed(grant), world.succeed(grant))] == [(True, "ok")] * 2


def test_a_failed_stage_is_tried_again_and_then_fails_the_request_with_its_items_kept(world: World) -> None:
    request_id = world.open("a", stages=[stage("process", retries=1)])
    world.collect(request_id, "0")
    delay = world.fail(world.start(request_id, "process")).delay_ms
    assert delay is not None
    assert world.start(request_id, "process").reason == "not due"
    assert [order.ref for order in world.watch(delay / 1000, every=delay / 1000)] == ["process"]
    assert world.fail(world.start(request_id, "process")).state == "failed"
    report = world.reader.report(request_id)
    assert report.state == "failed"
    assert report.error is not None
    assert (report.error.message, report.stages["process"].attempts) == ("oops", 2)
    assert list(world.reader.items_before(request_id, "process")) == [f"{request_id}/0/1"]


def test_a_stage_that_kills_its_processes_fails_the_request(world: World) -> None:
    request_id = world.open("a", stages=["process"], finish_s=600)
    world.collect(request_id, "0")
    for _ in range(3):
        assert world.start(request_id, "process").go
        world.watch(25)
    report = world.reader.report(request_id)
    assert (report.state, report.stages["process"].state) == ("failed", "lost")


def test_stages_end_with_their_time(world: World) -> None:
    request_id = world.open("a", stages=["process"], deadline_s=30, finish_s=60)
    world.collect(request_id, "0")
    grant = world.start(request_id, "process")
    assert grant.ends_in_ms == 90_000
    for _ in range(22):
        world.watch(4)
        world.ledger.renew("p1", [grant.held])
    assert world.state(request_id) == "processing"
    world.watch(3)
    report = world.reader.report(request_id)
    assert (report.state, report.stages["process"].state) == ("failed", "timed_out")
    assert world.succeed(grant).reason == "late"


def test_a_stage_that_waits_for_its_retry_ends_with_its_time_and_says_what_failed(world: World) -> None:
    request_id = world.open("a", stages=[stage("process", retries=9)], deadline_s=5, finish_s=5)
    world.collect(request_id, "0")
    world.fail(world.start(request_id, "process"))
    world.watch(11)
    error = world.reader.report(request_id).error
    assert error is not None
    assert error.message.endswith("time given to the stages; its last attempt failed: oops")


def test_a_late_collector_does_not_reach_a_stage(world: World) -> None:
    request_id = world.open("a", "b", stages=["process"], deadline_s=5)
    slow = world.start(request_id, "1")
    world.collect(request_id, "0")
    world.watch(6)
    assert world.succeed(slow).reason == "late"
    assert list(world.reader.items_before(request_id, "process")) == [f"{request_id}/0/1"]


def _known_short(world: World, request_id: str, task: str = "t.process") -> None:
    world.client.hset(f"{world.ledger.shard_of(request_id)}:times", task, "5")


def test_a_stage_known_to_be_short_goes_on_in_place(world: World) -> None:
    request_id = world.open("a", stages=["process"])
    _known_short(world, request_id)
    reply = world.succeed(world.start(request_id), in_place="t")
    assert reply.next is not None
    assert (reply.next.ref, reply.next.attempt, reply.orders) == ("process", 1, [])
    assert world.start(request_id, "process", process="p2").reason == "leased"
    assert world.succeed(reply.next).kept
    assert world.state(request_id) == "complete"


def test_asking_again_for_the_stage_in_place_after_a_lost_reply_gives_it_again(world: World) -> None:
    request_id = world.open("a", stages=["process"])
    _known_short(world, request_id)
    grant = world.start(request_id)
    replies = [world.succeed(grant, in_place="t") for _ in range(2)]
    assert replies[0].next == replies[1].next is not None
    assert world.succeed(grant, in_place="other").next is None


def _in_place(world: World, process: str) -> str:
    """A request whose stage goes on in place in this process."""
    request_id = world.open("a", stages=["process"])
    _known_short(world, request_id)
    assert world.succeed(world.start(request_id, process=process), in_place="t", process=process).next
    return request_id


def test_a_stage_in_place_dies_with_the_process_of_its_message(world: World) -> None:
    request_id = _in_place(world, "host:12:abc")
    reply = world.ledger.died(world.order(request_id, "0"), "host:12:")
    assert (reply.in_place, [order.ref for order in reply.orders]) == ("process", ["process"])
    assert (world.record(request_id, "process")["state"], world.record(request_id, "process")["crashes"]) == (
        "queued",
        1,
    )
    assert world.start(request_id, "process", process="p2").go
    assert world.record(request_id)["state"] == "ok", "what it had settled before stays"


def test_a_stage_in_place_is_not_lost_with_another_process(world: World) -> None:
    request_id = _in_place(world, "host:123:abc")
    assert not world.ledger.died(world.order(request_id, "0"), "host:12:").kept
    assert not world.ledger.died(world.order(request_id, "0", generation=2), "host:123:").kept
    assert not world.ledger.died(world.order(request_id, "0"), None, "cancelled", REVOKED).kept, "its run has ended"
    assert world.record(request_id, "process")["state"] == "running"


def test_a_stage_that_another_took_over_is_left_to_it(world: World) -> None:
    request_id = _in_place(world, "host:12:abc")
    world.ledger.died(world.order(request_id, "0"), "host:12:")
    world.start(request_id, "process", process="host:13:abc")
    assert not world.ledger.died(world.order(request_id, "0"), "host:12:").kept
    assert world.record(request_id, "process")["state"] == "running"


@pytest.mark.parametrize("known", ["unknown", "long", "each"])
def test_every_other_stage_gets_a_message(world: World, known: str) -> None:
    request_id = world.open("a", stages=["process"], messages="each" if known == "each" else "auto")
    if known != "unknown":
        _known_short(world, request_id)
    if known == "long":
        world.client.hset(f"{world.ledger.shard_of(request_id)}:times", "t.process", "21")
    reply = world.succeed(world.start(request_id), in_place="t")
    assert (reply.next, [order.ref for order in reply.orders]) == (None, ["process"])


def test_no_stage_goes_on_in_place_when_its_time_is_over(world: World) -> None:
    request_id = world.open(run("a", timeout_ms=900_000), stages=["process"], deadline_s=5, finish_s=5)
    _known_short(world, request_id)
    grant = world.start(request_id)
    world.clock.forward(11)
    assert world.succeed(grant, in_place="t").next is None
    world.sweep()
    assert world.state(request_id) == "failed"


def test_a_late_failure_of_a_stage_does_not_count(world: World) -> None:
    request_id = world.open("a", stages=["process"])
    world.collect(request_id, "0")
    slow = world.start(request_id, "process")
    world.watch(25)
    quick = world.start(request_id, "process", process="p2")
    assert world.fail(slow, retryable=False).reason == "late"
    assert world.succeed(quick).kept
    assert world.state(request_id) == "complete"


def test_who_ends_a_request_hears_whether_it_is_complete_for_good(world: World) -> None:
    whole, part = (world.open("a", "b", stages=["gathering", "process"]) for _ in range(2))
    world.collect(whole, "0", "1")
    world.collect(part, "0")
    world.fail(world.start(part, "1"))
    assert not world.collect(whole, "gathering").complete
    assert not world.collect(part, "gathering").complete
    assert world.collect(whole, "process").complete
    assert not world.collect(part, "process").complete  # it may be tried again, and end otherwise
