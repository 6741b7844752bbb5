"""What a stage is made from rides with its grant, where it is small, and is what a reader would find."""

from __future__ import annotations

from typing import Any

import pytest

from celery_collectors.ledger import Grant
from celery_collectors.ledger import reading as reading_module
from celery_collectors.payloads import Value
from tests.ledger.test_settle import items
from tests.ledger.world import World, run

ALL = ("gathering", "cleanup", "process")


def _given(world: World, grant: Grant) -> list[Any]:
    assert grant.given, "nothing rode with it"
    return list(world.reader.given_items(grant.given))


def test_gathering_gets_each_runs_value_in_order_and_none_where_there_is_none(world: World) -> None:
    request_id = world.open("a", "b", "c", stages=ALL)
    world.succeed(world.start(request_id, "2"), ["c"])
    world.fail(world.start(request_id, "1"))
    world.succeed(world.start(request_id, "0"), ["a", "a"])
    grant = world.start(request_id, "gathering")
    assert [value is None for value in grant.given] == [False, True, False]
    assert list(world.reader.given_lists(grant.given)) == list(world.reader.results_of_runs(request_id))
    instead = list(world.reader.given_results(grant.given, ["missing"]))
    assert instead == list(world.reader.results(world.reader.report(request_id), ["missing"])) == [
        ["a", "a"], "missing", ["c"],
    ]  # fmt: skip


def test_a_stage_gets_what_the_one_before_it_made(world: World) -> None:
    request_id = world.open("a", "b", stages=ALL)
    world.collect(request_id, "0", "1")
    world.succeed(world.start(request_id, "gathering"), ["gathered"])
    grant = world.start(request_id, "cleanup", token="same")
    assert _given(world, grant) == ["gathered"]
    assert world.start(request_id, "cleanup", token="same") == grant  # the reply was lost
    world.succeed(grant, ["clean"])
    assert _given(world, world.start(request_id, "process")) == ["clean"]


def test_the_first_stage_gets_all_items_whichever_it_is(world: World) -> None:
    request_id = world.open("a", "b", stages=["process"])
    world.succeed(world.start(request_id, "1"), ["b"])
    world.succeed(world.start(request_id, "0"), ["a"])
    grant = world.start(request_id, "process")
    assert _given(world, grant) == ["a", "b"] == list(world.reader.items_before(request_id, "process"))


def test_it_rides_with_a_stage_in_place_too_also_if_a_reply_was_lost(world: World) -> None:
    request_id = world.open("a", stages=["cleanup", "process"])
    for task in ("t.cleanup", "t.process"):
        world.client.hset(f"{world.ledger.shard_of(request_id)}:times", task, "5")
    grant = world.start(request_id)
    reply = world.succeed(grant, ["a"], in_place="token")
    assert reply.next is not None
    assert _given(world, reply.next) == ["a"]
    again = world.succeed(grant, ["a"], in_place="token")
    assert again.next == reply.next
    then = world.succeed(reply.next, ["clean"], in_place="token")
    assert then.next is not None
    assert _given(world, then.next) == ["clean"]


def test_a_run_is_given_nothing(world: World) -> None:
    assert world.start(world.open("a", stages=ALL)).given == ()


@pytest.mark.parametrize(("runs", "size"), [(101, 10), (20, 4000)])
def test_nothing_that_is_large_in_all_rides_with_a_grant(world: World, runs: int, size: int) -> None:
    request_id = world.open(*(run(f"r{n}") for n in range(runs)), stages=["gathering"])
    for n in range(runs):
        world.ledger.settle(world.start(request_id, str(n)).held, "ok", value=b"x" * size, items=1)
    assert world.start(request_id, "gathering").given == ()


def test_a_stages_value_that_is_gone_is_an_error_and_not_nothing(world: World) -> None:
    request_id = world.open("a", stages=["gathering", "cleanup"])
    world.collect(request_id, "0", "gathering")
    world.client.hdel(world.ledger.key("values", request_id), "gathering")
    grant = world.start(request_id, "cleanup")
    assert grant.given == ()
    with pytest.raises(reading_module.PayloadError):
        list(world.reader.items_of(request_id, [grant.before]))


def test_a_large_value_rides_as_its_reference(world: World) -> None:
    request_id = world.open("a", stages=["gathering"])
    world.succeed(world.start(request_id), ["x" * 100_000])
    grant = world.start(request_id, "gathering")
    (raw,) = grant.given
    assert raw is not None
    assert len(raw) < 300
    assert Value.from_bytes(raw).key
    assert _given(world, grant) == ["x" * 100_000]
    assert items(world, request_id) == ["x" * 100_000]
