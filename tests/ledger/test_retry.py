"""retry: the next generation runs what is named, keeps what answered, and voids what is under way from before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from celery_collectors.errors import PayloadError, RefusedError, RequestUnknown
from celery_collectors.ledger import RESULT, Reply
from celery_collectors.ledger.choice import choose
from celery_collectors.model import Policy
from tests.ledger.world import World, callback, link, run, stage, step


def partial(world: World, *more: str, **changes: object) -> str:
    """A request of which ``a`` answered and ``b`` failed."""
    request_id = world.open("a", "b", *more, **changes)
    world.collect(request_id, "0")
    world.fail(world.start(request_id, "1"))
    return request_id


def test_only_the_runs_named_run_again_in_the_next_generation(world: World) -> None:
    request_id = partial(world, "c")
    world.fail(world.start(request_id, "2"))
    before = world.record(request_id, "0")
    orders = world.retry(request_id, "1")
    assert [(o.ref, o.generation, o.delivery) for o in orders] == [("1", 2, 2)]
    assert (world.state(request_id), world.reader.report(request_id).generation) == ("collecting", 2)
    assert world.record(request_id, "0") == before
    assert world.record(request_id, "2")["state"] == "failed"
    assert world.succeed(world.start_again(orders[0])).state == "ok"
    report = world.reader.report(request_id)
    assert (report.state, [str(o.state) for o in report.outcomes.values()]) == ("partial", ["ok", "ok", "failed"])
    assert list(world.reader.items_of(request_id, ["0", "1"])) == [f"{request_id}/0/1", f"{request_id}/1/2"]


def test_all_answered_is_complete(world: World) -> None:
    request_id = partial(world)
    (order,) = world.retry(request_id, "1")
    world.succeed(world.start_again(order))
    assert world.state(request_id) == "complete"


def test_no_output_of_before_is_taken_for_this_generation_s(world: World) -> None:
    request_id = partial(world, stages=["gathering"])
    world.collect(request_id, "gathering")
    world.retry(request_id, "1")
    assert list(world.stored("values", request_id)) == ["0"]


def test_what_is_under_way_from_before_is_void(world: World) -> None:
    request_id = world.open("a", run("b", retries=0, timeout_ms=90_000), deadline_s=5, finish_s=5)
    old = world.start(request_id, "1")
    world.collect(request_id, "0")
    world.watch(6)
    assert world.state(request_id) == "partial"
    world.retry(request_id, "1")
    assert world.start(request_id, "1").reason == "superseded"
    assert world.start(request_id, "1", generation=2).reason == "superseded"
    assert world.start(request_id, "1", delivery=2).reason == "superseded"
    assert world.succeed(old).reason == "late"
    assert world.fail(old).reason == "late"
    assert dict(world.ledger.renew("p1", [old.held])) == {old.held: "superseded"}
    assert world.ledger.died(world.order(request_id, "1"), "p1").kept is False
    assert world.record(request_id, "1")["state"] == "queued"


def test_a_run_tried_again_begins_anew_and_counts_its_attempts_on(world: World) -> None:
    request_id = world.open("a", run("b", retries=1, backoff_ms=0))
    world.collect(request_id, "0")
    for _ in range(2):
        world.fail(world.start(request_id, "1"))
        world.watch(2)
    (order,) = world.retry(request_id, "1")
    world.watch(3)
    grant = world.start_again(order)
    assert (grant.attempt, grant.failures) == (3, 0)
    assert world.fail(grant).state == "retrying"
    outcome = world.reader.report(request_id).outcomes["b"]
    assert (outcome.attempts, outcome.wait_s) == (3, 3.0)


def test_a_run_tried_again_has_all_its_crashes_before_it(world: World) -> None:
    request_id = world.open("a", "b")
    world.collect(request_id, "0")
    for _ in range(3):
        world.start(request_id, "1")
        world.ledger.died(world.order(request_id, "1"), "p1")
    assert world.record(request_id, "1")["state"] == "lost"
    (order,) = world.retry(request_id, "1")
    world.start_again(order)
    world.ledger.died(world.order(request_id, "1", generation=2, delivery=2), "p1")
    assert world.record(request_id, "1")["state"] == "queued"


def test_one_that_never_started_again_says_so(world: World) -> None:
    request_id = partial(world)
    world.retry(request_id, "1", deadline_s=5)
    world.watch(6)
    error = world.reader.report(request_id).outcomes["b"].error
    assert error is not None
    assert "never started before the deadline" in error.message


def test_the_deadline_counts_from_the_retry(world: World) -> None:
    request_id = partial(world, stages=["process"], deadline_s=10, finish_s=5)
    world.collect(request_id, "process")
    world.clock.forward(100)
    world.retry(request_id, "1", deadline_s=7, finish_s=3)
    due = world.due(request_id)
    assert due[""] == 107_000
    assert (world.reader.ended(request_id).deadline_s, world.reader.ended(request_id).finish_s) == (7, 3)
    world.watch(8)
    assert world.state(request_id) == "processing"
    world.watch(3)
    assert world.state(request_id) == "failed"


def test_stages_run_anew_over_what_is_there_now(world: World) -> None:
    request_id = partial(world, stages=["gathering", "process"])
    world.collect(request_id, "gathering", "process")
    (order,) = world.retry(request_id, "1")
    report = world.reader.report(request_id)
    assert (report.stages, report.result, report.error, report.finished_at) == ({}, None, None, None)
    world.succeed(world.start_again(order))
    assert world.start(request_id, "gathering").reason == "superseded"
    grant = world.start(request_id, "gathering", generation=2)
    assert list(world.reader.items_before(request_id, "gathering")) == [f"{request_id}/0/1", f"{request_id}/1/2"]
    world.succeed(grant)
    world.succeed(world.start(request_id, "process", generation=2))
    assert world.state(request_id) == "complete"


def test_a_stage_that_failed_runs_again_though_no_run_did(world: World) -> None:
    request_id = world.open("a", stages=[stage("process", retries=0)])
    world.collect(request_id, "0")
    world.fail(world.start(request_id, "process"))
    assert world.state(request_id) == "failed"
    assert choose(world.reader.ended(request_id), "failed", force=False).refs == []
    orders = world.retry(request_id)
    assert [(order.ref, order.generation) for order in orders] == [("process", 2)]
    world.succeed(world.start(request_id, "process", generation=2))
    assert world.state(request_id) == "complete"


def test_one_of_two_retries_wins_and_the_other_hears_so(world: World) -> None:
    request_id = partial(world)
    world.retry(request_id, "1")
    (reply,) = world.ledger.retry(request_id, ["1"], generation=1, token="another", deadline_s=9, finish_s=9)
    assert (reply.kept, reply.reason, reply.generation, reply.state) == (False, "superseded", 2, "collecting")
    assert world.record(request_id, "1")["delivery"] == 2


def test_a_retry_whose_reply_was_lost_is_asked_again(world: World) -> None:
    request_id = partial(world)
    world.retry(request_id, "1", token="same")
    assert world.retry(request_id, "1", token="same") == []
    assert (world.head(request_id)["generation"], world.record(request_id, "1")["delivery"]) == ("2", 2)


def test_many_at_once_begin_one_generation(world: World) -> None:
    request_id = partial(world)

    def attempt(number: int) -> bool:
        times = {"deadline_s": 30.0, "finish_s": 60.0}
        replies = list(world.ledger.retry(request_id, ["1"], generation=1, token=f"token-{number}", **times))
        assert all(reply.kept or reply.reason == "superseded" for reply in replies)
        return replies[0].kept

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(64))) == 1
    assert (world.head(request_id)["generation"], world.record(request_id, "1")["delivery"]) == ("2", 2)


@pytest.mark.parametrize("state", ["collecting", "processing", "complete", "cancelled"])
def test_only_what_ended_and_not_well_is_tried_again(world: World, state: str) -> None:
    request_id = world.open("a", stages=["process"])
    if state == "cancelled":
        world.ledger.cancel(request_id)
    elif state != "collecting":
        world.collect(request_id, "0", *(["process"] if state == "complete" else []))
    assert world.state(request_id) == state
    (reply,) = world.ledger.retry(request_id, ["0"], generation=1, token="t", deadline_s=9, finish_s=9)
    assert (reply.kept, reply.reason) == (False, "state")
    assert world.state(request_id) == state
    with pytest.raises(RefusedError, match=state):
        choose(world.reader.ended(request_id), "failed", force=True)


def test_what_is_complete_is_not_tried_again(world: World) -> None:
    test_only_what_ended_and_not_well_is_tried_again(world, "complete")


def test_the_unknown_stays_unknown(world: World) -> None:
    (reply,) = world.ledger.retry("nobody", ["0"], generation=1, token="t", deadline_s=9, finish_s=9)
    assert reply.state == "unknown"
    with pytest.raises(RequestUnknown):
        world.reader.ended("nobody")


def test_what_is_tried_again_tells_nothing_of_before(world: World) -> None:
    request_id = world.open("a", "b")
    world.collect(request_id, "0")
    world.fail(world.start(request_id, "1"))
    world.retry(request_id, "1")
    outcome = world.reader.report(request_id).outcomes["b"]
    assert (outcome.state, outcome.error, outcome.worker, outcome.run_s) == ("queued", None, None, None)


def test_nothing_of_a_retried_request_expires(world: World) -> None:
    request_id = partial(world)
    kinds = ("request", "values", "events")
    assert all(world.client.pttl(world.ledger.key(kind, request_id)) > 0 for kind in kinds)
    (order,) = world.retry(request_id, "1")
    assert all(world.client.pttl(world.ledger.key(kind, request_id)) == -1 for kind in kinds)
    world.succeed(world.start_again(order))
    assert all(world.client.pttl(world.ledger.key(kind, request_id)) > 0 for kind in kinds)


def test_what_answered_lives_as_long_as_the_request_does_now(world: World) -> None:
    request_id = world.open("a", "b")
    grant = world.start(request_id, "0")
    world.succeed(grant, ["x" * 1000])
    world.fail(world.start(request_id, "1"))
    (value,) = world.reader.values(request_id, ["0"])
    world.client.pexpire(value.key, 5000)
    world.reader.keep(request_id, 90)
    assert world.client.pttl(value.key) > 3600_000
    world.client.delete(value.key)
    with pytest.raises(PayloadError, match="is gone from"):
        world.reader.keep(request_id, 90)


def test_a_retried_request_is_listed_as_new(world: World) -> None:
    request_id = partial(world)
    world.clock.forward(10)
    other = world.open("a")
    world.clock.forward(world.settings.result_ttl_s - 5)
    world.retry(request_id, "1")
    world.sweep()
    world.clock.forward(20)
    world.sweep()
    assert [one.request_id for one in world.reader.page().requests] == [request_id]
    assert other != request_id


def test_the_events_say_which_generation(world: World) -> None:
    request_id = partial(world)
    (order,) = world.retry(request_id, "1")
    world.succeed(world.start_again(order))
    told = [(e.subject, e.state, e.generation) for e in world.reader.events(request_id)]
    assert told[-7:] == [
        ("run", "failed", 1), ("request", "partial", 1), ("request", "collecting", 2), ("run", "queued", 2),
        ("run", "running", 2), ("run", "ok", 2), ("request", "complete", 2),
    ]  # fmt: skip


# Many runs -------------------------------------------------------------------------------------------


def test_many_runs_are_queued_again_some_at_a_time(world: World) -> None:
    request_id = many_failed(world, 1200)
    replies = _retry(world, request_id, [str(ref) for ref in range(1, 1200)])
    assert [len(reply.orders) for reply in replies] == [500, 500, 199]
    assert world.head(request_id)["open"] == "1199"
    assert "again" not in world.head(request_id)


def test_what_a_client_that_died_left_is_queued_again_by_a_sweeper(world: World) -> None:
    request_id = many_failed(world, 1200)
    next(iter(world.ledger.retry(
        request_id, [str(ref) for ref in range(1, 1200)], generation=1, token="t", deadline_s=30, finish_s=60
    )))  # fmt: skip
    assert world.head(request_id)["open"] == "500"
    orders = world.sweep()
    assert (len(orders), world.head(request_id)["open"]) == (699, "1199")
    assert world.due(request_id)[""] == world.clock() - 1_800_000_000_000 + 30_000


def test_a_client_that_dies_before_all_runs_are_named_changes_nothing(world: World) -> None:
    request_id = many_failed(world, 1200)
    arguments = {"request_id": request_id, "generation": 1, "token": "t", "deadline_ms": 9000, "finish_ms": 9000}
    chunk = {"refs": ["1", "2"], "from": 0, "seal": False, "unsealed_ttl_ms": 1000}
    world.ledger._reply("retry", request_id, arguments | chunk, Reply)
    assert world.state(request_id) == "partial"
    key = f"{world.ledger.key('again', request_id)}:t"
    assert 0 < world.client.pttl(key) <= 1000


def test_nothing_decides_a_request_that_is_being_reopened(world: World) -> None:
    request_id = many_failed(world, 1200)
    replies = iter(world.ledger.retry(
        request_id, [str(ref) for ref in range(1, 1200)], generation=1, token="t", deadline_s=30, finish_s=60
    ))  # fmt: skip
    for order in next(replies).orders:
        world.succeed(world.start_again(order))
    assert (world.state(request_id), world.head(request_id)["open"]) == ("collecting", "0")
    for reply in replies:
        for order in reply.orders:
            world.succeed(world.start_again(order))
    assert world.state(request_id) == "complete"


def test_a_cancel_ends_what_is_being_reopened(world: World) -> None:
    request_id = many_failed(world, 1200)
    next(iter(world.ledger.retry(
        request_id, [str(ref) for ref in range(1, 1200)], generation=1, token="t", deadline_s=30, finish_s=60
    )))  # fmt: skip
    world.ledger.cancel(request_id)
    assert world.sweep() + world.sweep() == []
    assert (world.state(request_id), world.head(request_id)["open"], world.due(request_id)) == ("cancelled", "0", {})
    assert world.client.exists(world.ledger.key("again", request_id)) == 0


def many_failed(world: World, runs: int) -> str:
    request_id = world.open(*(f"c[{number}]" for number in range(runs)), deadline_s=5)
    world.collect(request_id, "0")
    world.watch(6)
    assert world.state(request_id) == "partial"
    return request_id


def _retry(world: World, request_id: str, refs: list[str]) -> list[Reply]:
    return list(world.ledger.retry(request_id, refs, generation=1, token="t", deadline_s=30, finish_s=60))


# Policy ----------------------------------------------------------------------------------------------


def test_the_policy_counts_over_the_generations(world: World) -> None:
    request_id = world.open("a", "b", run("c", required=True), policy=Policy(min_ok=2, required=("c",)))
    world.collect(request_id, "0")
    world.fail(world.start(request_id, "2"))
    report = world.reader.report(request_id)
    assert (report.state, report.outcomes["b"].state) == ("failed", "skipped")
    orders = world.retry(request_id, "1", "2")
    for order in orders:
        world.succeed(world.start_again(order))
    assert world.state(request_id) == "complete"


# Chords ----------------------------------------------------------------------------------------------


def test_a_chain_goes_on_at_the_step_that_failed(world: World) -> None:
    request_id = world.open("a", run("b", more=(step("next"),), call=True), calls={"1": "call"})
    world.collect(request_id, "0", "1")
    grant = world.start(request_id, "1", delivery=2)
    world.fail(grant)
    assert world.state(request_id) == "partial"
    (order,) = world.retry(request_id, "1")
    assert (order.call, order.step, order.task, order.delivery) == ("call", 1, "t.next", 3)
    assert world.succeed(world.start_again(order)).state == "ok"
    assert world.state(request_id) == "complete"


def test_what_had_expired_is_given_time_again(world: World) -> None:
    request_id = world.open("a", run("b", expires_ms=1000))
    world.watch(2)
    world.collect(request_id, "0")
    (order,) = world.retry(request_id, "1")
    assert world.start_again(order).go


def test_the_callback_is_called_again_with_its_call(world: World) -> None:
    request_id = world.open("a", stages=[callback()], calls={"gathering": "the call"})
    world.collect(request_id, "0")
    world.fail(world.start(request_id, "gathering"))
    (order,) = world.retry(request_id)
    assert (order.ref, order.call, order.generation) == ("gathering", "the call", 2)


def test_each_generation_calls_what_follows_its_end_and_stores_its_result(world: World) -> None:
    links = [link("link"), link("link_error")]
    request_id = world.open("a", links=links, result_id="chord", calls={"link:0": "l", "link_error:0": "e"})
    reply = world.fail(world.start(request_id))
    assert [order.ref for order in reply.orders] == ["link_error:0", RESULT]
    world.collect(request_id, "link_error:0")
    (order,) = world.retry(request_id, "0")
    assert world.due(request_id).keys() == {"", "0"}, "the first end's result is not stored any more"
    reply = world.succeed(world.start_again(order))
    assert [(order.ref, order.generation) for order in reply.orders] == [("link:0", 2), (RESULT, 2)]
    assert world.start(request_id, "link_error:0").reason == "unknown"
    world.ledger.published([world.full_order(request_id, RESULT)])  # of the first generation, a moment late
    assert RESULT in world.due(request_id)
    world.ledger.published([order for order in reply.orders if order.ref == RESULT])
    assert RESULT not in world.due(request_id)


def test_while_a_link_is_on_its_way_it_is_not_tried_again(world: World) -> None:
    request_id = world.open("a", links=[link("link_error")])
    world.fail(world.start(request_id))
    (reply,) = world.ledger.retry(request_id, ["0"], generation=1, token="t", deadline_s=9, finish_s=9)
    assert (reply.kept, reply.reason) == (False, "follows")
    world.collect(request_id, "link_error:0")
    assert world.retry(request_id, "0")
