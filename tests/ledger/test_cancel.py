"""cancel: once it returns nothing of the request starts any more, and it is final at once."""

from __future__ import annotations

import pytest

from tests.ledger.world import World, run, stage


@pytest.mark.parametrize("ref", ["0", "1", "2"])
def test_after_a_cancel_nothing_starts(world: World, ref: str) -> None:
    request_id = world.open("queued", "running", run("again", retries=1), stages=["process"])
    world.start(request_id, "1")
    world.fail(world.start(request_id, "2"))
    assert world.ledger.cancel(request_id, reason="enough", by="ann").state == "cancelled"
    assert world.start(request_id, ref, process="p2").reason == "cancelled"
    report = world.reader.report(request_id)
    assert report.error is not None
    assert (report.state, report.error.message) == ("cancelled", "cancelled by ann: enough")
    assert {outcome.state for outcome in report.outcomes.values()} == {"cancelled"}


def test_a_cancelled_stage_neither_starts_nor_commits(world: World) -> None:
    request_id = world.open("a", stages=["process"])
    world.collect(request_id, "0")
    grant = world.start(request_id, "process")
    world.ledger.cancel(request_id)
    assert world.succeed(grant).reason == "late"
    assert world.start(request_id, "process").reason == "cancelled"
    report = world.reader.report(request_id)
    assert (report.state, report.stages["process"].state, report.result) == ("cancelled", "cancelled", None)


def test_a_cancelled_stage_is_not_tried_again(world: World) -> None:
    request_id = world.open("a", stages=[stage("process", retries=5)], deadline_s=300)
    world.collect(request_id, "0")
    world.fail(world.start(request_id, "process"))
    world.ledger.cancel(request_id)
    assert world.watch(60, every=5) == []


def test_what_had_answered_stays_answered(world: World) -> None:
    request_id = world.open("a", "b")
    world.collect(request_id, "0")
    world.ledger.cancel(request_id)
    assert [str(o.state) for o in world.reader.report(request_id).outcomes.values()] == ["ok", "cancelled"]
    assert world.reader.answered(request_id) == ["0"]


def test_a_cancelled_run_does_not_answer(world: World) -> None:
    request_id = world.open("a")
    grant = world.start(request_id)
    world.ledger.cancel(request_id)
    assert world.succeed(grant).reason == "late"
    assert world.reader.answered(request_id) == []


def test_cancelling_what_has_ended_changes_nothing(world: World) -> None:
    request_id = world.open("a")
    world.collect(request_id, "0")
    assert world.ledger.cancel(request_id).state == "complete"
    assert world.state(request_id) == "complete"
    assert world.ledger.cancel("nobody").state == "unknown"


def test_a_request_of_many_runs_is_cancelled_at_once_and_tidied_up_later(world: World) -> None:
    request_id = world.open(*(f"c[{i}]" for i in range(2500)))
    world.ledger.cancel(request_id)
    assert (world.state(request_id), world.head(request_id)["open"]) == ("cancelled", "2000")
    assert world.start(request_id, "2400").reason == "cancelled"
    world.sweep()
    assert world.head(request_id)["open"] == "0"
    world.sweep()
    assert world.due(request_id) == {}


def test_after_a_cancel_everything_has_ended(world: World) -> None:
    test_after_a_cancel_nothing_starts(world, "0")
