"""settle: a success from any attempt wins, once; a failure counts only from the current one."""

from __future__ import annotations

from celery_collectors.ledger import Grant
from tests.ledger.world import World, label, run


def items(world: World, request_id: str) -> list[object]:
    return list(world.reader.items_of(request_id, world.reader.answered(request_id)))


def test_answers_of_all_runs_complete_a_request_without_stages(world: World) -> None:
    request_id = world.open("a", "b")
    assert world.collect(request_id, "0").kept
    assert world.state(request_id) == "collecting"
    world.ledger.settle(world.start(request_id, "1").held, "empty")
    report = world.reader.report(request_id)
    assert report.state == "complete"
    assert [(o.state, o.items) for o in report.outcomes.values()] == [("ok", 1), ("empty", 0)]
    assert items(world, request_id) == [f"{request_id}/0/1"]


def test_settling_twice_says_the_same_and_counts_once(world: World) -> None:
    request_id = world.open("a", "b")
    grant = world.start(request_id, "0")
    replies = [world.succeed(grant), world.succeed(grant)]
    assert [(reply.kept, reply.state) for reply in replies] == [(True, "ok"), (True, "ok")]
    assert (world.head(request_id)["open"], world.head(request_id)["answered"]) == ("1", "1")


def test_failing_twice_is_one_failure(world: World) -> None:
    request_id = world.open(run("a", retries=1))
    grant = world.start(request_id)
    assert [world.fail(grant).state, world.fail(grant).state] == ["retrying", "retrying"]
    assert world.record(request_id)["failures"] == 1


def test_a_second_winner_is_late_and_changes_nothing(world: World) -> None:
    request_id = world.open("a", "b")
    slow = world.start(request_id)
    quick = _taken_over(world, slow)
    assert world.succeed(quick).kept
    late = world.succeed(slow)
    assert (late.kept, late.reason) == (False, "late")
    assert items(world, request_id) == [label(quick)]
    assert world.head(request_id)["late"] == "1"


def test_an_attempt_whose_lease_lapsed_may_still_win(world: World) -> None:
    request_id = world.open("a", "b")
    slow = world.start(request_id)
    quick = _taken_over(world, slow)
    assert world.succeed(slow).kept
    assert world.fail(quick).reason == "late"
    assert items(world, request_id) == [label(slow)]


def test_a_failure_of_a_stale_attempt_does_not_count(world: World) -> None:
    request_id = world.open("a", "b")
    slow = world.start(request_id)
    quick = _taken_over(world, slow)
    assert world.fail(slow, retryable=False).reason == "late"
    assert world.record(request_id)["state"] == "running"
    assert world.succeed(quick).kept


def test_an_attempt_of_another_generation_is_late(world: World) -> None:
    request_id = world.open("a")
    world.change_head(request_id, generation=2)
    grant = world.start(request_id, generation=2)
    old = type(grant)(go=True, request_id=request_id, ref="0", generation=1, attempt=1)
    assert world.succeed(old).reason == "late"
    assert world.succeed(grant).kept


def test_a_success_after_its_attempt_was_given_up_still_wins(world: World) -> None:
    request_id = world.open(run("a", retries=1))
    grant = world.start(request_id)
    assert world.fail(grant, "timed_out").state == "retrying"
    assert world.succeed(grant).state == "ok"
    assert items(world, request_id) == [label(grant)]
    assert world.state(request_id) == "complete"


def test_a_success_after_the_run_was_given_up_is_not_said_to_be_kept(world: World) -> None:
    request_id = world.open("a", "b")
    grant = world.start(request_id)
    assert world.fail(grant, "timed_out").state == "timed_out"
    assert world.succeed(grant).reason == "late"
    assert items(world, request_id) == []


def test_retries_are_due_entries_with_a_growing_pause(world: World) -> None:
    request_id = world.open(run("a", retries=3, backoff_ms=1000, backoff_cap_ms=3000))
    for shortest, longest in ((500, 1000), (1000, 2000), (1500, 3000)):
        delay = world.fail(world.start(request_id)).delay_ms
        assert delay is not None
        assert shortest <= delay <= longest
        assert world.due(request_id)["0"] == world.clock() + delay - 1_800_000_000_000
        assert world.watch(delay / 1000 - 0.002, every=delay / 1000 - 0.002) == []
        assert [order.ref for order in world.watch(0.003, every=0.003)] == ["0"]
    assert world.fail(world.start(request_id)).state == "failed"
    assert world.reader.report(request_id).outcomes["a"].attempts == 4


def test_what_can_not_be_helped_by_trying_again_is_not_tried_again(world: World) -> None:
    request_id = world.open(run("a", retries=3))
    assert world.fail(world.start(request_id), retryable=False).state == "failed"


def test_no_retry_is_planned_past_the_deadline(world: World) -> None:
    request_id = world.open(run("a", retries=3, backoff_ms=4000), deadline_s=30)
    world.clock.forward(29)
    assert world.fail(world.start(request_id)).state == "failed"


def test_handing_back_costs_nothing_and_goes_to_someone_else_at_once(world: World) -> None:
    request_id = world.open("a")
    reply = world.ledger.settle(world.start(request_id).held, "queued")
    assert [(order.ref, order.delivery) for order in reply.orders] == [("0", 1)]
    record = world.record(request_id)
    assert (record["state"], record["failures"], record["crashes"]) == ("queued", 0, 0)
    assert world.start(request_id, process="p2").attempt == 2


def test_an_answer_that_comes_before_the_deadline_was_noticed_is_taken(world: World) -> None:
    request_id = world.open("a", deadline_s=30)
    grant = world.start(request_id)
    world.clock.forward(31)
    assert world.succeed(grant).kept
    assert world.state(request_id) == "complete"


def test_an_answer_after_the_deadline_was_noticed_is_late(world: World) -> None:
    request_id = world.open("a", deadline_s=5)
    grant = world.start(request_id)
    world.watch(6)
    assert world.succeed(grant).reason == "late"
    assert world.reader.report(request_id).outcomes["a"].state == "timed_out"


def test_an_ended_run_is_neither_due_nor_waiting(world: World) -> None:
    request_id = world.open("a", "b")
    slow = world.start(request_id)
    world.ledger.settle(slow.held, "queued")
    world.published(request_id, "0")
    assert world.succeed(slow).kept, "the queued run is answered by an attempt that had given it back"
    assert world.waiting(request_id) == {}
    assert "0" not in world.due(request_id)


def test_run_times_are_learnt_per_task(world: World) -> None:
    request_id = world.open("a", "b")
    world.ledger.settle(world.start(request_id).held, "ok", run_s=0.5)
    times = world.client.hgetall(f"{world.ledger.shard_of(request_id)}:times")
    assert times == {b"t.a": b"500"}


def test_an_unknown_request_is_said_to_be_unknown(world: World) -> None:
    grant = world.start(world.open("a"))
    world.client.delete(world.ledger.key("request", grant.request_id))
    assert world.succeed(grant).reason == "unknown"
    assert world.client.exists(world.ledger.key("request", grant.request_id)) == 0


def _taken_over(world: World, slow: Grant) -> Grant:
    """The lease of a silent process lapses, and another takes its run."""
    orders = world.watch(25)
    assert (slow.request_id, slow.ref) in [(order.request_id, order.ref) for order in orders]
    return world.start(slow.request_id, slow.ref, process="p2")
