"""A chord's times: a countdown before a member is due, and until when it must have started."""

from __future__ import annotations

from tests.ledger.world import World, run, step


def test_what_is_due_later_is_not_handed_out_before(world: World) -> None:
    request_id = world.open(run("a", delay_ms=20_000), "b", deadline_s=300)
    world.published(request_id, "1")
    assert world.watch(19) == []
    assert [order.ref for order in world.watch(1)] == ["0"]
    world.published(request_id, "0")
    world.clock.forward(3)
    assert world.start(request_id).go
    assert world.record(request_id)["wait_ms"] == 3000, "it waits from when it was due"


def test_a_short_countdown_is_kept(world: World) -> None:
    world.open(run("a", delay_ms=2000))
    assert world.watch(1) == []
    assert [order.ref for order in world.watch(1)] == ["0"], "as nobody else sends it, it does not wait for the outbox"


def test_what_was_not_due_before_the_deadline_says_so(world: World) -> None:
    request_id = world.open(run("a", delay_ms=20_000), deadline_s=5)
    world.watch(5)
    outcome = world.reader.report(request_id).outcomes["a"]
    assert outcome.error is not None
    assert (outcome.state, outcome.error.message) == ("timed_out", "was not due before the deadline")
    assert outcome.wait_s == 0


def _expired(world: World, request_id: str, message: str) -> None:
    outcome = world.reader.report(request_id).outcomes["a"]
    assert outcome.error is not None
    assert (outcome.state, outcome.attempts, outcome.error.message) == ("timed_out", 0, message)
    assert world.start(request_id).reason == "settled"
    assert "0" not in world.due(request_id)
    assert world.waiting(request_id) == {}


def test_what_was_not_sent_before_it_expired_is_ended(world: World) -> None:
    request_id = world.open(run("a", expires_ms=4000, retries=3), "b")
    assert world.watch(3) == []
    assert world.record(request_id)["state"] == "queued"
    world.watch(1)
    _expired(world, request_id, "expired after 4.0 s in the queue")
    assert world.state(request_id) == "collecting", "the other goes on"


def test_what_nobody_started_before_it_expired_is_ended(world: World) -> None:
    request_id = world.open(run("a", expires_ms=20_000), "b", deadline_s=300)
    world.published(request_id, "0", "1")
    assert world.watch(19) == []
    assert set(world.waiting(request_id)) == {"0", "1"}
    world.watch(1)
    outcome = world.reader.report(request_id).outcomes["a"]
    assert outcome.state == "timed_out"
    assert set(world.waiting(request_id)) == {"1"}


def test_what_has_expired_does_not_start_though_nobody_swept(world: World) -> None:
    request_id = world.open(run("a", expires_ms=4000))
    world.clock.forward(4)
    assert world.start(request_id).reason == "late"


def test_what_is_handed_out_again_still_expires(world: World) -> None:
    request_id = world.open(run("a", expires_ms=20_000), deadline_s=300)
    assert [order.ref for order in world.watch(15)] == ["0"]
    world.watch(5)
    assert world.record(request_id)["state"] == "timed_out"


def test_what_expires_before_it_is_due_is_never_sent(world: World) -> None:
    request_id = world.open(run("a", delay_ms=20_000, expires_ms=4000), "b")
    assert world.watch(4) == []
    _expired(world, request_id, "expired after 0.0 s in the queue")
    assert world.reader.report(request_id).outcomes["a"].wait_s == 0


def test_what_has_begun_does_not_expire(world: World) -> None:
    request_id = world.open(run("a", expires_ms=4000), "b")
    grant = world.start(request_id)
    world.watch(8)
    assert world.succeed(grant).state == "ok"


def test_a_chain_that_has_begun_does_not_expire(world: World) -> None:
    request_id = world.open(run("a", expires_ms=4000, more=(step("b"),)), "b")
    grant = world.start(request_id)
    world.clock.forward(5)
    (order,) = world.succeed(grant).orders
    world.sweep()
    world.ledger.published([order])
    assert world.start(request_id, delivery=2).go
