"""Stages that one process runs one after another and commits by one call: each still commits once, on its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from celery_collectors.ledger import Grant, Reply, Settled
from tests.ledger.world import World, label, stage

ALL = ("gathering", "cleanup", "process")


def _at_stages(world: World, *stages: Any, known: tuple[str, ...] = ALL, **changes: Any) -> Grant:
    """The first stage of a request, granted in place; all these are known to be short."""
    request_id = world.open("a", stages=stages or ALL, **changes)
    for ref in known:
        world.client.hset(f"{world.ledger.shard_of(request_id)}:times", f"t.{ref}", "5")
    reply = world.succeed(world.start(request_id), in_place="t")
    assert reply.next is not None
    return reply.next


def _all_of(grant: Grant) -> list[Grant]:
    """The grant and those of the stages that may be run along with it."""
    grants = [grant]
    for then in grant.then:
        grants.append(grants[-1].along(then, ()))
    return grants


def _ended(world: World, grant: Grant, *states: str) -> list[Settled]:
    grants = _all_of(grant)
    return [world.ended(*one) for one in zip(grants, states or ("ok",) * len(grants), strict=False)]


def _together(world: World, ended: list[Settled], token: str = "t", process: str = "p1") -> Reply:
    return world.settle_together(*ended, in_place=token, process=process)


def _states(reply: Reply) -> list[tuple[bool, str]]:
    return [(one.kept, one.reason or one.state) for one in reply.each]


def test_a_grant_in_place_names_the_short_stages_after_it(world: World) -> None:
    grant = _at_stages(world)
    assert [(then.ref, then.name) for then in grant.then] == [("cleanup", "cleanup"), ("process", "process")]
    _, cleanup, process = _all_of(grant)
    alone = msgspec.structs.replace(
        grant, ref="cleanup", name="cleanup", before="gathering", given=(), then=grant.then[1:]
    )
    assert cleanup == alone
    assert (process.before, process.then, process.ends_at) == ("cleanup", (), grant.ends_at)


def test_only_those_up_to_the_first_that_is_not_known_to_be_short_are_named(world: World) -> None:
    grant = _at_stages(world, known=("gathering", "process"))
    assert grant.then == ()
    assert _at_stages(world, known=("gathering", "cleanup")).then[0].ref == "cleanup"


def test_a_stage_that_came_by_message_is_run_alone(world: World) -> None:
    """As after a crash: what kills its process is found out."""
    grant = _at_stages(world)
    (order,) = world.ledger.settle(grant.held, "queued").orders
    assert world.start_again(order).then == ()


def test_stages_commit_together_each_with_its_own_record_and_events(world: World) -> None:
    grant = _at_stages(world)
    reply = _together(world, _ended(world, grant))
    assert _states(reply) == [(True, "ok")] * 3
    assert (reply.complete, reply.next, reply.orders) == (True, None, [])
    report = world.reader.report(grant.request_id)
    assert report.state == "complete"
    assert [(o.state, o.attempts, o.items, o.worker) for o in report.stages.values()] == [("ok", 1, 1, "p1")] * 3
    for one in _all_of(grant)[:2]:
        assert list(world.reader.items_of(grant.request_id, [one.ref])) == [label(one)]
    assert report.result == [label(_all_of(grant)[2])]
    events = [(event.name, event.state) for event in world.reader.events(grant.request_id)][4:]
    assert events == [
        ("gathering", "running"), ("gathering", "ok"), ("python", "cleaning"),
        ("cleanup", "running"), ("cleanup", "ok"), ("python", "processing"),
        ("process", "running"), ("process", "ok"), ("python", "complete"),
    ]  # fmt: skip
    assert world.due(grant.request_id) == {}


def test_committing_together_twice_says_the_same_and_commits_once(world: World) -> None:
    grant = _at_stages(world)
    ended = _ended(world, grant)
    first = _together(world, ended)
    before = world.records(grant.request_id), world.stored("values", grant.request_id)
    assert _together(world, ended).each == first.each
    assert (world.records(grant.request_id), world.stored("values", grant.request_id)) == before


def test_a_part_of_them_goes_on_in_place_with_the_next(world: World) -> None:
    grant = _at_stages(world)
    ended = _ended(world, grant, "ok", "ok")
    replies = [_together(world, ended), _together(world, ended)]
    assert replies[0].next == replies[1].next is not None
    assert (replies[0].next.ref, replies[0].next.attempt) == ("process", 1)
    assert list(world.reader.given_items(replies[0].next.given)) == [label(_all_of(grant)[1])]


def test_one_that_has_become_long_meanwhile_is_committed_all_the_same(world: World) -> None:
    grant = _at_stages(world)
    world.client.hset(f"{world.ledger.shard_of(grant.request_id)}:times", "t.cleanup", "900")
    assert _states(_together(world, _ended(world, grant, "ok", "ok"))) == [(True, "ok")] * 2


def test_when_one_fails_those_before_it_are_committed_and_it_is_tried_again_alone(world: World) -> None:
    grant = _at_stages(world)
    ended = _ended(world, grant, "ok", "failed")
    reply = _together(world, ended)
    assert _states(reply) == [(True, "ok"), (True, "retrying")]
    assert reply.each[1].delay_ms is not None
    record = world.record(grant.request_id, "cleanup")
    assert (record["attempt"], record["failures"], record["error"]["message"]) == (1, 1, "oops")
    assert _states(_together(world, ended)) == [(True, "ok"), (True, "retrying")]
    (order,) = world.watch(2)
    assert (order.ref, order.delivery) == ("cleanup", 1)
    again = world.start_again(order)
    assert (again.attempt, again.failures) == (2, 1)
    assert world.succeed(again).kept


def test_one_that_fails_for_good_fails_the_request_with_what_is_before_it_kept(world: World) -> None:
    grant = _at_stages(world, "gathering", stage("cleanup", retries=0), "process")
    reply = _together(world, _ended(world, grant, "ok", "failed"))
    assert _states(reply) == [(True, "ok"), (True, "failed")]
    assert world.state(grant.request_id) == "failed"
    assert list(world.reader.items_before(grant.request_id, "cleanup")) == [label(grant)]


def test_nothing_is_committed_that_was_made_from_what_failed(world: World) -> None:
    grant = _at_stages(world)
    reply = _together(world, _ended(world, grant, "ok", "failed", "ok"))
    assert _states(reply) == [(True, "ok"), (True, "retrying"), (False, "late")]
    assert world.stored("values", grant.request_id).keys() == {"0", "gathering"}


def test_one_that_is_handed_back_goes_out_alone(world: World) -> None:
    grant = _at_stages(world)
    reply = _together(world, _ended(world, grant, "ok", "queued"))
    assert [(order.ref, order.delivery) for order in reply.orders] == [("cleanup", 1)]
    assert world.start_again(reply.orders[0]).go


def test_after_a_cancel_none_of_them_is_committed(world: World) -> None:
    grant = _at_stages(world)
    world.ledger.cancel(grant.request_id)
    assert _states(_together(world, _ended(world, grant))) == [(False, "late")] * 3
    assert world.stored("values", grant.request_id).keys() == {"0"}
    assert world.record(grant.request_id, "gathering")["state"] == "cancelled"


def test_no_further_stage_is_begun_when_the_time_of_the_stages_is_over(world: World) -> None:
    """The first one's answer is taken, as any that comes before the end was noticed."""
    grant = _at_stages(world, deadline_s=5, finish_s=5)
    world.clock.forward(10)
    assert _states(_together(world, _ended(world, grant))) == [(True, "ok"), (False, "late"), (False, "late")]
    assert world.record(grant.request_id, "cleanup")["attempt"] == 0
    world.sweep()
    assert world.state(grant.request_id) == "failed"


def test_what_comes_too_late_to_begin_is_due(world: World) -> None:
    """Until a sweeper ends it with its request."""
    grant = _at_stages(world, deadline_s=5, finish_s=5)
    world.clock.forward(10)
    assert [order.ref for order in _together(world, _ended(world, grant)).orders] == ["cleanup"]
    assert world.due(grant.request_id).keys() == {"", "cleanup"}


def test_who_lost_its_lease_still_wins_with_all_if_nobody_was_quicker(world: World) -> None:
    grant = _at_stages(world)
    world.watch(25)
    quick = world.start(grant.request_id, "gathering", process="p2")
    assert _states(_together(world, _ended(world, grant))) == [(True, "ok")] * 3
    assert world.succeed(quick).reason == "late"


def test_what_was_made_from_a_loser_s_output_is_not_committed(world: World) -> None:
    slow = _at_stages(world)
    world.watch(25)
    quick = world.start(slow.request_id, "gathering", process="p2")
    assert quick.attempt == 2
    world.succeed(quick)
    assert _states(_together(world, _ended(world, slow))) == [(False, "late")] * 3
    assert world.stored("values", slow.request_id).keys() == {"0", "gathering"}


def test_what_was_made_from_a_loser_s_output_is_not_taken_for_another_s_first_attempt(world: World) -> None:
    slow = _at_stages(world)
    world.watch(25)
    world.succeed(world.start(slow.request_id, "gathering", process="p2"))
    theirs = world.start(slow.request_id, "cleanup", process="p2")
    assert theirs.attempt == 1
    assert _states(_together(world, _ended(world, slow))) == [(False, "late")] * 3
    assert world.succeed(theirs).kept


def test_what_another_has_begun_meanwhile_is_left_to_it(world: World) -> None:
    """The first was committed by an earlier call, whose reply was lost; its next one went out as a message."""
    grant = _at_stages(world)
    world.ledger.settle(grant.held, "ok", value=world.ended(grant).value, items=1)
    theirs = world.start(grant.request_id, "cleanup", process="p2")
    assert theirs.attempt == 1
    reply = _together(world, _ended(world, grant))
    assert _states(reply) == [(True, "ok"), (False, "late"), (False, "late")]
    assert world.record(grant.request_id, "cleanup")["owner"] == "p2"
    assert world.succeed(theirs).kept


def test_what_nobody_has_begun_meanwhile_is_committed(world: World) -> None:
    grant = _at_stages(world)
    world.ledger.settle(grant.held, "ok", value=world.ended(grant).value, items=1)
    assert _states(_together(world, _ended(world, grant))) == [(True, "ok")] * 3
    assert world.due(grant.request_id) == {}


def test_a_stage_that_does_not_come_next_is_late(world: World) -> None:
    grant = _at_stages(world)
    gathering, _, process = _ended(world, grant)
    reply = _together(world, [gathering, process])
    assert _states(reply) == [(True, "ok"), (False, "unknown")]
    assert reply.next is not None
    assert reply.next.ref == "cleanup"


def test_an_attempt_that_does_not_come_next_is_late_and_its_stage_is_sent(world: World) -> None:
    grant = _at_stages(world)
    ended = _ended(world, grant, "ok", "ok")
    second = msgspec.structs.replace(ended[1], held=msgspec.structs.replace(ended[1].held, attempt=2))
    reply = _together(world, [ended[0], second])
    assert _states(reply) == [(True, "ok"), (False, "late")]
    assert reply.next is not None
    assert world.succeed(reply.next).kept


def test_an_attempt_that_is_not_the_next_one_of_its_stage_is_late(world: World) -> None:
    grant = _at_stages(world)
    gathering, cleanup, _ = _ended(world, grant)
    world.ledger.settle(grant.held, "ok", value=gathering.value, items=1)
    second = msgspec.structs.replace(cleanup, held=msgspec.structs.replace(cleanup.held, attempt=2))
    assert _states(_together(world, [gathering, second])) == [(True, "ok"), (False, "late")]
    assert world.record(grant.request_id, "cleanup")["attempt"] == 0


def test_stages_of_an_earlier_generation_are_late(world: World) -> None:
    grant = _at_stages(world, stage("gathering", retries=0), "cleanup")
    ended = _ended(world, grant)
    world.fail(grant)
    world.retry(grant.request_id)
    assert _states(_together(world, ended)) == [(False, "late")] * 2


def test_several_stages_need_somebody_who_goes_on(world: World) -> None:
    ended = _ended(world, _at_stages(world))
    with pytest.raises(ValueError, match="say who goes on"):
        world.settle_together(*ended)


def test_what_is_run_along_is_learnt_of(world: World) -> None:
    grant = _at_stages(world)
    _together(world, [msgspec.structs.replace(one, run_s=0.01) for one in _ended(world, grant)])
    found: Any = world.client.hget(f"{world.ledger.shard_of(grant.request_id)}:times", "t.process")
    assert float(found) == pytest.approx(0.8 * 5 + 0.2 * 10)
