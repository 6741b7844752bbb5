"""What the next crash would end goes alone: a process has one such run at a time, and no source costs others theirs."""

from __future__ import annotations

import pytest

from celery_collectors.ledger import Grant, Ledger, scripts
from tests.ledger.world import BEGINNING_MS, World, run


def last_chance(world: World) -> str:
    """A request whose runs have been in two processes that died."""
    request_id = world.open("a", "b", deadline_s=60)
    for _ in range(2):
        for ref in ("0", "1"):
            assert world.start(request_id, ref).go
        for ref in ("0", "1"):
            world.ledger.died(world.order(request_id, ref), "p1")
    return request_id


def refused(grant: Grant) -> bool:
    return not grant.go and grant.reason == "goes alone" and grant.state == "queued"


@pytest.mark.promise(4)
def test_a_process_takes_one_at_a_time(world: World) -> None:
    request_id = last_chance(world)
    first = world.start(request_id, "0", alone=True)
    assert (first.go, first.alone, first.attempt) == (True, True, 3)
    assert refused(world.start(request_id, "1", alone=False))
    assert world.record(request_id, "1")["attempt"] == 2, "nothing is counted against it"
    assert world.start(request_id, "1", process="p2", alone=True).go, "another process may have it"


def test_before_its_last_chance_it_goes_in_company(world: World) -> None:
    request_id = world.open("a", "b")
    assert world.start(request_id, alone=False).go
    world.ledger.died(world.order(request_id, "0"), "p1")
    again = world.start(request_id, alone=False)
    assert (again.go, again.alone) == (True, False)


def test_where_the_first_crash_is_the_last_nothing_goes_alone(world: World) -> None:
    other = World(world.client, f"{world.settings.prefix}.1", crash_cap=1)
    grant = other.start(other.open("a"), alone=False)
    assert (grant.go, grant.alone) == (True, False)


def test_a_pack_is_company(world: World) -> None:
    request_id = last_chance(world)
    assert all(refused(grant) for grant in world.start_together(request_id, "0", "1"))


def test_asking_again_after_a_lost_reply_says_again_that_it_goes_alone(world: World) -> None:
    request_id = last_chance(world)
    first = world.start(request_id, token="t")
    assert world.start(request_id, token="t", alone=False) == first


def test_one_that_is_refused_comes_again_after_a_pause_that_grows(world: World) -> None:
    request_id = last_chance(world)
    pauses = []
    for _ in range(6):
        assert refused(world.start(request_id, alone=False))
        assert world.waiting(request_id) == {}
        before = world.clock()
        while not [order for order in world.watch(0.1, every=0.1) if order.ref == "0"]:
            assert world.clock() - before < 10_000
        pauses.append(round((world.clock() - before) / 1000, 1))
    assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_confirmation_that_is_slower_than_the_worker_does_not_hide_it(world: World) -> None:
    request_id = last_chance(world)
    assert refused(world.start(request_id, alone=False))
    world.published(request_id, "0")
    assert "0" in [order.ref for order in world.watch(1)]


def test_an_older_copy_that_comes_after_it_does_not_either(world: World) -> None:
    """RabbitMQ delivers the message of a worker that was killed again, beside that by which the run was called for."""
    request_id = last_chance(world)
    order = next(order for order in world.watch(15) if order.ref == "0")
    assert refused(world.start(request_id, alone=False, stamp=order.stamp))
    assert refused(world.start(request_id, alone=False))
    world.ledger.published([order])
    assert "0" in [order.ref for order in world.watch(2)]


def test_at_the_deadline_the_error_says_what_it_waited_for(world: World) -> None:
    request_id = last_chance(world)
    while world.state(request_id) == "collecting":
        world.start(request_id, alone=False)
        world.watch(5)
    outcome = world.reader.report(request_id).outcomes["a"]
    assert (outcome.state, outcome.attempts) == ("timed_out", 2)
    assert outcome.error is not None
    assert outcome.error.message == "its process died 2 times, so it goes alone, and its turn did not come in time"


def test_a_sweeper_of_an_older_version_ends_its_request_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows one reason only for which a run comes back, and joins a worker's name to what it says."""
    request_id = last_chance(world)
    assert refused(world.start(request_id, alone=False))
    source = scripts.source
    monkeypatch.setattr(scripts, "source", lambda name: source(name).replace("if by == '' then", "if false then"))
    world.ledger = Ledger(world.client, world.settings, now_ms=world.clock)
    world.watch(70, every=5)
    assert world.state(request_id) == "failed"


def test_a_stage_goes_alone_too(world: World) -> None:
    request_id = world.open("a", stages=["gathering"], finish_s=60)
    world.collect(request_id, "0")
    for _ in range(2):
        assert world.start(request_id, "gathering", alone=False).go
        world.ledger.died(world.order(request_id, "gathering"), "p1")
    assert refused(world.start(request_id, "gathering", alone=False))
    assert world.start(request_id, "gathering", alone=True).go


def test_how_long_it_ran_is_not_how_long_it_waited_for_its_turn(world: World) -> None:
    request_id = last_chance(world)
    world.watch(20)
    world.ledger.cancel(request_id)
    assert world.reader.report(request_id).outcomes["a"].run_s is None


def test_how_long_it_ran_is_told_of_its_last_attempt_also_if_it_waited_for_another(world: World) -> None:
    """Of one that nobody has settled, because its process could not."""
    request_id = world.open(run("a", retries=1, backoff_ms=60_000, backoff_cap_ms=60_000), deadline_s=300)
    world.start(request_id)
    while world.record(request_id)["state"] == "running":
        world.watch(1)
        world.ledger.renew("p1", [])  # its process lives
    lapsed_at = world.clock()
    world.watch(20)
    world.ledger.cancel(request_id)
    assert world.reader.report(request_id).outcomes["a"].run_s == (lapsed_at - BEGINNING_MS) / 1000
