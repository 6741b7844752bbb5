"""start: go, with a lease, for one process at a time; or not, with the reason."""

from __future__ import annotations

import pytest

from tests.ledger.world import World, run


def test_a_run_starts_once_and_copies_of_its_message_are_refused(world: World) -> None:
    request_id = world.open("a")
    grant = world.start(request_id)
    assert (grant.go, grant.attempt, grant.ends_in_ms) == (True, 1, 10_000)
    copy = world.start(request_id, process="p2")
    assert (copy.go, copy.reason) == (False, "leased")
    assert world.record(request_id)["owner"] == "p1"


def test_asking_again_after_a_lost_reply_gives_the_same_answer(world: World) -> None:
    request_id = world.open("a")
    first = world.start(request_id, token="t")
    assert world.start(request_id, token="t") == first
    assert world.record(request_id)["attempt"] == 1


def test_asking_again_after_a_cancel_is_refused(world: World) -> None:
    names = [f"c[{i}]" for i in range(1100)]
    request_id = world.open(*names)
    world.start(request_id, "1099", token="t")
    world.ledger.cancel(request_id)
    assert world.record(request_id, "1099")["state"] == "running", "its turn to be closed has not come"
    assert world.start(request_id, "1099", token="t").reason == "cancelled"


@pytest.mark.parametrize("late", [{"generation": 2}, {"generation": 0}, {"delivery": 2}, {"delivery": 0}])
def test_a_superseded_message_is_refused(world: World, late: dict[str, int]) -> None:
    request_id = world.open("a")
    refusal = world.start(request_id, **late)
    assert (refusal.go, refusal.reason) == (False, "superseded")


def test_what_the_ledger_does_not_hold_is_unknown(world: World) -> None:
    assert world.start("nobody").reason == "unknown"
    assert world.start(world.open("a"), "7").reason == "unknown"
    assert world.start(world.open("a"), "process").reason == "unknown"


def test_what_is_answered_does_not_start_again(world: World) -> None:
    request_id = world.open("a", "b")
    world.collect(request_id, "0")
    assert world.start(request_id, "0").reason == "settled"


def test_nothing_starts_at_the_deadline_though_nobody_swept(world: World) -> None:
    request_id = world.open("a", deadline_s=30)
    world.clock.forward(30)
    assert world.start(request_id).reason == "late"
    assert world.record(request_id)["attempt"] == 0


def test_no_stage_starts_when_its_time_is_over_though_nobody_swept(world: World) -> None:
    request_id = world.open("a", stages=["process"], deadline_s=30, finish_s=60)
    world.collect(request_id, "0")
    world.clock.forward(90)
    assert world.start(request_id, "process").reason == "late"


def test_a_retrying_run_waits_for_its_time(world: World) -> None:
    request_id = world.open(run("a", retries=1))
    world.fail(world.start(request_id))
    assert world.start(request_id).reason == "not due"


def test_an_attempt_ends_at_the_deadline_at_the_latest(world: World) -> None:
    request_id = world.open("a", deadline_s=30)
    world.clock.forward(25)
    assert world.start(request_id).ends_in_ms == 5000


def test_a_started_run_is_no_longer_waiting(world: World) -> None:
    request_id = world.open("a")
    world.published(request_id, "0")
    assert world.waiting(request_id) == {"0": 0}
    assert "0" not in world.due(request_id)
    world.start(request_id)
    assert world.waiting(request_id) == {}
    assert world.due(request_id)["0"] == 12_000, "the lease: its time limit and the grace"


def test_published_after_start_changes_nothing(world: World) -> None:
    request_id = world.open("a")
    world.start(request_id)
    lease = world.due(request_id)
    world.published(request_id, "0")
    assert world.due(request_id) == lease
    assert world.waiting(request_id) == {}


def test_published_of_a_copy_that_was_sent_before_it_was_handed_out_anew_changes_nothing(world: World) -> None:
    """That copy may have gone with its broker; seen as 30 s more, after the broker had been away for 10 s."""
    request_id = world.open("a")
    world.clock.forward(0.4)
    (order,) = world.ledger.died(world.order(request_id, "0"), None).orders
    before = world.due(request_id)
    world.published(request_id, "0")
    assert (world.due(request_id), world.waiting(request_id)) == (before, {})
    world.ledger.published([order])
    assert world.waiting(request_id) == {"0": 400}


def test_what_was_only_reserved_when_its_broker_went_away_is_handed_out_at_once(world: World) -> None:
    request_id = world.open("a")
    world.published(request_id, "0")
    (order,) = world.ledger.died(world.order(request_id, "0"), None).orders
    assert world.waiting(request_id) == {}
    assert world.start(request_id, stamp=order.stamp).go
    assert not world.ledger.died(world.order(request_id, "0"), None).kept, "another has it"


@pytest.mark.parametrize("wrong", ["generation", "delivery"])
def test_published_of_a_superseded_message_changes_nothing(world: World, wrong: str) -> None:
    request_id = world.open("a")
    before = world.due(request_id)
    order = world.full_order(request_id, "0")
    world.ledger.published([type(order)(**{**_fields(order), wrong: 2})])
    assert (world.due(request_id), world.waiting(request_id)) == (before, {})


def _fields(order: object) -> dict[str, object]:
    return {name: getattr(order, name) for name in order.__struct_fields__}  # type: ignore[attr-defined]


def test_how_long_it_waited_is_told_from_the_first_start(world: World) -> None:
    request_id = world.open("a")
    world.clock.forward(3)
    world.ledger.settle(world.start(request_id).held, "queued")
    world.clock.forward(4)
    world.start(request_id)
    assert world.reader.report(request_id).outcomes["a"].wait_s == 3
