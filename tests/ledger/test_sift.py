"""What lies outside the ledger: nothing that is pointed to goes, and nothing that isn't stays."""

from __future__ import annotations

from typing import Any

import pytest

from celery_collectors.ledger import Grant, Held
from celery_collectors.ledger.storing import key_of
from celery_collectors.model import RequestState
from celery_collectors.payloads import encode_items
from tests.ledger.stores import lying_in
from tests.ledger.world import World, run, step

LARGE = [f"{number:0>1000}" for number in range(100)]
HOUR = 3600


def store(world: World, grant: Grant, items: Any = LARGE) -> bytes:
    """Write an attempt's output as a worker does; return its value."""
    held = grant.held
    writer = world.store.writer(world.ledger.payload_key(held), lambda: world.ledger.note_stored(held))
    for chunk in encode_items(items):
        writer.add(chunk)
    return writer.close().to_bytes()


def answer(world: World, grant: Grant) -> Any:
    return world.ledger.settle(grant.held, "ok", value=store(world, grant), items=len(LARGE))


def sift(world: World) -> list[str]:
    """What a sweeper removes now, by the keys of all shards."""
    removed: list[str] = []
    for shard in world.ledger.shards:
        gone: list[str] = []
        while True:
            found = world.ledger.sift(shard, gone)
            gone = found.unwanted
            keys = [key_of(shard, entry) for entry in gone]
            world.store.blobs.delete(keys)
            removed += [key.partition(":payload:")[2] for key in keys]
            if not gone and not found.more:
                break
    return removed


def lies_there(world: World) -> list[str]:
    names = lying_in(world.store.blobs, world.client, world.settings.prefix)
    return [name.partition(":payload:")[2].partition("#")[0] for name in names]


def entries(world: World) -> int:
    return sum(int(world.client.zcard(f"{shard}:stored")) for shard in world.ledger.shards)


def test_what_a_value_points_to_stays_until_its_request_goes(world: World) -> None:
    request_id = world.open("a", stages=["cleanup"])
    answer(world, world.start(request_id))
    for _ in range(5):
        world.clock.forward(15)
        world.sweep()
        assert sift(world) == []
    answer(world, world.start(request_id, "cleanup"))
    world.clock.forward(world.settings.result_ttl_s)
    assert sift(world) == []
    assert lies_there(world) == [f"{request_id}:0:1.1", f"{request_id}:cleanup:1.1"]
    world.client.delete(*world.client.keys(f"{world.settings.prefix}:*:*:{request_id}"))  # it has expired
    world.clock.forward(2)
    assert sorted(sift(world)) == [f"{request_id}:0:1.1", f"{request_id}:cleanup:1.1"]
    assert lies_there(world) == []


def test_what_an_attempt_that_runs_has_stored_stays(world: World) -> None:
    request_id = world.open(run("a", timeout_ms=HOUR * 1000), deadline_s=HOUR)
    grant = world.start(request_id)
    value = store(world, grant)
    for _ in range(10):
        world.clock.forward(15)
        world.ledger.renew("p1", [grant.held])
        assert sift(world) == []
    world.ledger.settle(grant.held, "ok", value=value, items=len(LARGE))
    assert list(world.reader.items_of(request_id, ["0"])) == LARGE


def test_an_attempt_that_was_given_up_may_still_come_home_with_what_it_stored(world: World) -> None:
    request_id = world.open("a")
    grant = world.start(request_id)
    value = store(world, grant)
    world.watch(25)
    assert world.record(request_id)["state"] == "queued"
    assert sift(world) == []
    assert world.ledger.settle(grant.held, "ok", value=value, items=len(LARGE)).kept
    assert list(world.reader.items_of(request_id, ["0"])) == LARGE


def test_what_the_winner_did_not_store_goes_when_the_run_has_ended(world: World) -> None:
    request_id = world.open("a", "still open", deadline_s=HOUR)
    dead = world.start(request_id, process="dies")
    store(world, dead)
    world.watch(25)
    second = world.start(request_id)
    assert (sift(world), second.attempt) == ([], 2)
    answer(world, second)
    world.clock.forward(world.settings.lease_s)
    assert sift(world) == [f"{request_id}:0:1.1"]
    assert lies_there(world) == [f"{request_id}:0:1.2"]


def test_what_a_stage_made_of_the_generation_before_goes_with_the_retry(world: World) -> None:
    request_id = world.open("a", "b", stages=["cleanup"])
    answer(world, world.start(request_id, "0"))
    world.fail(world.start(request_id, "1"), retryable=False)
    answer(world, world.start(request_id, "cleanup"))
    world.clock.forward(HOUR)
    assert (world.state(request_id), sift(world)) == ("partial", [])
    world.retry(request_id, "1")
    assert sift(world) == [f"{request_id}:cleanup:1.1"]
    assert lies_there(world) == [f"{request_id}:0:1.1"]


def test_what_is_forgotten_goes_at_once(world: World) -> None:
    request_id = world.open("a")
    answer(world, world.start(request_id))
    world.clock.forward(HOUR)
    assert sift(world) == []
    assert world.ledger.forget(request_id)
    assert (sift(world), lies_there(world)) == ([f"{request_id}:0:1.1"], [])


def test_an_attempts_key_is_not_taken_for_one_that_begins_alike(world: World) -> None:
    request_id = world.open(run("a", retries=20), deadline_s=HOUR)
    first = world.start(request_id)
    store(world, first)
    world.fail(first)
    for _ in range(9):
        world.watch(5)
        grant = world.start(request_id)
        assert grant.go
        if grant.attempt < 10:
            world.fail(grant)
    answer(world, grant)
    world.watch(25)
    assert (grant.attempt, sift(world)) == (10, [f"{request_id}:0:1.1"])
    assert lies_there(world) == [f"{request_id}:0:1.10"]


def test_what_an_attempt_says_is_unwanted_goes_at_once(world: World) -> None:
    request_id = world.open(run("a", retries=1))
    grant = world.start(request_id)
    store(world, grant)
    world.fail(grant)
    world.ledger.note_unwanted(grant.held)
    assert sift(world) == [f"{request_id}:0:1.1"]
    assert lies_there(world) == []


@pytest.mark.parametrize("end", ["cancel", "the deadline"])
def test_what_runs_when_its_request_ends_keeps_nothing(world: World, end: str) -> None:
    request_id = world.open("a")
    store(world, world.start(request_id))
    if end == "cancel":
        world.ledger.cancel(request_id)
    world.watch(40)
    assert world.ledger.state(request_id) in (RequestState.CANCELLED, RequestState.FAILED)
    assert sift(world) == [f"{request_id}:0:1.1"]


def test_what_an_attempt_of_the_generation_before_stored_goes(world: World) -> None:
    """It can't come home any more, although its run, which runs again, has not ended."""
    request_id = world.open("a")
    world.clock.forward(25)
    store(world, world.start(request_id))
    world.watch(10)
    assert world.state(request_id) == "failed"
    (order,) = world.retry(request_id, "0", deadline_s=HOUR)
    world.start_again(order)
    world.clock.forward(world.settings.lease_s)
    assert sift(world) == [f"{request_id}:0:1.1"]


def test_a_chain_keeps_what_its_steps_made(world: World) -> None:
    request_id = world.open(run("a", more=(step("b"),)), deadline_s=HOUR)
    first = world.start(request_id)
    world.ledger.settle(first.held, "ok", value=store(world, first), items=1)
    world.clock.forward(world.settings.lease_s)
    assert sift(world) == []
    answer(world, world.start(request_id, delivery=2))
    world.watch(25)
    assert sift(world) == []
    assert lies_there(world) == [f"{request_id}:0:1.1", f"{request_id}:0:1.2"]


def test_what_is_handed_out_comes_again_until_it_is_said_to_be_gone(world: World) -> None:
    held = Held(request_id="never-was", ref="0", generation=1, attempt=1)
    shard = world.ledger.shard_of(held.request_id)
    world.ledger.note_stored(held, look_s=0)
    found = world.ledger.sift(shard)
    assert [key_of(shard, entry) for entry in found.unwanted] == [world.ledger.payload_key(held)]
    assert world.ledger.sift(shard).unwanted == []
    world.clock.forward(16)
    assert world.ledger.sift(shard).unwanted == found.unwanted
    assert world.ledger.sift(shard, found.unwanted).unwanted == []


def test_what_was_removed_is_removed_once_more_for_a_process_that_was_only_taken_for_dead(world: World) -> None:
    request_id = world.open("a")
    grant = world.start(request_id)
    store(world, grant)
    world.ledger.note_unwanted(grant.held)
    assert sift(world) == [f"{request_id}:0:1.1"]
    world.store.blobs.put(world.ledger.payload_key(grant.held), 1, b"late", ttl_s=HOUR)
    assert sift(world) == []
    world.clock.forward(HOUR)
    assert sift(world) == [f"{request_id}:0:1.1"]
    assert (lies_there(world), entries(world)) == ([], 0)


def test_a_sweep_says_whether_there_is_anything_to_sift(world: World) -> None:
    request_id = world.open("a")
    shard = world.ledger.shard_of(request_id)
    assert not world.ledger.claim(shard, sweeper="s").stored
    store(world, world.start(request_id))
    assert not world.ledger.claim(shard, sweeper="s").stored
    world.clock.forward(world.settings.lease_s)
    assert world.ledger.claim(shard, sweeper="s").stored


# Caps on a request --------------------------------------------------------------------------------


@pytest.mark.parametrize(("cap", "named"), [("request_max_items", "250 items"), ("request_max_bytes", "2500 bytes")])
def test_the_answer_that_is_too_much_fails_and_the_others_stay(world: World, cap: str, named: str) -> None:
    world = World(world.client, f"{world.settings.prefix}x", **{cap: int(named.split(maxsplit=1)[0]) - 1})
    request_id = world.open("a", "b", "c", stages=["cleanup"])
    replies = []
    for ref, items in (("0", 100), ("1", 150), ("2", 100)):
        grant = world.start(request_id, ref)
        for _ in range(2):  # after a lost reply, the same is said again
            reply = world.ledger.settle(grant.held, "ok", value=b"v", items=items, size_bytes=items * 10)
            replies.append(reply)
    assert [(reply.kept, reply.state) for reply in replies] == [
        (True, state) for state in ("ok", "ok", "failed", "failed", "ok", "ok")
    ]
    error = world.record(request_id, "1")["error"]
    assert (error["type"], error["kind"], error["retryable"]) == ("TooLarge", "config", False)
    assert named in error["message"]
    assert f"COLLECTORS_{cap.upper()}" in error["message"]
    assert (sorted(world.stored("values", request_id)), world.state(request_id)) == (["0", "2"], "cleaning")
