"""What follows a chord's end: its links are called once, and its result is stored where Celery looks for it."""

from __future__ import annotations

import pytest

from celery_collectors.ledger import RESULT
from celery_collectors.model import ErrorInfo, Policy
from tests.ledger.world import World, callback, link, run

LINKS = (link(), link("link", 1), link("link_error"))
REVOKED = ErrorInfo(type="Revoked", kind="system", message="its task was revoked", retryable=True)


def ended(world: World, how: str = "complete", **changes: object) -> str:
    """A request that has ended so; what follows it is still to be published."""
    call = {"links": LINKS, "stages": [callback()], "deadline_s": 20, "finish_s": 20} | changes
    request_id = world.open("a", "b", **call)
    if how == "cancelled":
        world.ledger.cancel(request_id)
        return request_id
    world.collect(request_id, "0")
    if how == "partial":
        world.fail(world.start(request_id, "1"))
    else:
        world.collect(request_id, "1")
    if how == "failed":
        world.fail(world.start(request_id, "gathering"))
    else:
        world.collect(request_id, "gathering")
    assert world.state(request_id) == how
    return request_id


def follows(world: World, request_id: str) -> set[str]:
    """What the ledger has written to follow the end, all of which must be due or waiting."""
    refs = {ref for ref in world.records(request_id) if ref.startswith("link") or ref == RESULT}
    assert refs <= set(world.due(request_id)) | set(world.waiting(request_id))
    return refs


# Which, and when --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["complete", "partial"])
def test_links_are_called_after_a_success(world: World, how: str) -> None:
    assert follows(world, ended(world, how)) == {"link:0", "link:1"}


def test_a_success_calls_its_links_only(world: World) -> None:
    test_links_are_called_after_a_success(world, "complete")


def test_a_failure_calls_its_links_only(world: World) -> None:
    assert follows(world, ended(world, "failed")) == {"link_error:0"}


def test_a_cancel_calls_nothing(world: World) -> None:
    request_id = ended(world, "cancelled")
    assert follows(world, request_id) == set()
    assert world.watch(60, every=5) == []


def test_a_revoked_callback_calls_nothing(world: World) -> None:
    request_id = world.open("a", stages=[callback()], links=LINKS)
    world.collect(request_id, "0")
    world.ledger.died(world.order(request_id, "gathering"), None, "cancelled", REVOKED)
    assert (world.state(request_id), follows(world, request_id)) == ("cancelled", set())


def test_nothing_is_called_before_the_end(world: World) -> None:
    request_id = world.open("a", stages=[callback()], links=LINKS, result_id="task-1")
    world.collect(request_id, "0")
    assert follows(world, request_id) == set()
    assert world.start(request_id, "link:0").reason == "unknown"


def test_the_step_that_ends_it_hands_them_out(world: World) -> None:
    calls = {"link:0": "call on", "link_error:0": "never"}
    links = link(priority="high", timeout_ms=5000), link("link_error")
    request_id = world.open("a", links=links, calls=calls, result_id="task-1")
    orders = world.collect(request_id, "0").orders
    assert [(o.ref, o.name, o.task, o.priority, o.delivery) for o in orders] == [
        ("link:0", "link:0", "t.link", "high", 1),
        (RESULT, "task-1", "", "normal", 1),
    ]
    assert (orders[0].call, orders[0].time_left_ms, orders[1].call) == ("call on", 5000, "")


def test_every_way_to_fail_calls_them(world: World) -> None:
    """The deadline, a policy that became impossible, and the end of the stages' time."""
    late = world.open("a", links=LINKS, deadline_s=5)
    assert [order.ref for order in world.watch(5)] == ["link_error:0"]
    assert follows(world, late) == {"link_error:0"}
    hopeless = world.open("a", "b", links=LINKS, policy=Policy(min_ok=2))
    assert [order.ref for order in world.fail(world.start(hopeless)).orders] == ["link_error:0"]
    slow = world.open("a", links=LINKS, stages=[callback()], deadline_s=5, finish_s=5)
    world.collect(slow, "0")
    world.watch(10)
    assert (world.state(slow), follows(world, slow)) == ("failed", {"link_error:0"})


def test_what_follows_a_chord_over_nothing_goes_away_with_it(world: World) -> None:
    opened = world.ledger.open(
        "none", topic="t", runs=[], links=LINKS, calls={"link_error:0": "on"}, deadline_s=5, finish_s=5
    )
    assert [order.ref for order in opened.orders] == ["link_error:0"]
    for kind in ("request", "calls", "events"):
        assert world.client.pttl(world.ledger.key(kind, "none")) > 0, kind


# Once -------------------------------------------------------------------------------------------------


def test_a_link_runs_like_a_stage_but_after_the_end(world: World) -> None:
    request_id = ended(world, links=[link()])
    world.clock.forward(3600)
    (order,) = world.sweep()
    world.ledger.published([order])
    assert (world.due(request_id), set(world.waiting(request_id))) == ({}, {"link:0"})
    grant = world.start(request_id, "link:0")
    assert (grant.go, grant.ends_in_ms, world.waiting(request_id)) == (True, 10_000, {})
    assert world.ledger.renew("p1", [grant.held]) == []
    reply = world.succeed(grant)
    assert (reply.kept, reply.state, reply.orders) == (True, "ok", [])
    assert (world.state(request_id), world.due(request_id)) == ("complete", {})
    assert "link:0" not in world.stored("values", request_id)


def test_a_link_starts_once(world: World) -> None:
    request_id = ended(world)
    assert world.start(request_id, "link:0").go
    assert world.start(request_id, "link:0", process="p2").reason == "leased"


def test_a_link_commits_once(world: World) -> None:
    request_id = ended(world)
    slow = world.start(request_id, "link:0")
    assert "link:0" in [order.ref for order in world.watch(25)]
    quick = world.start(request_id, "link:0", process="p2")
    assert (quick.go, quick.attempt) == (True, 2)
    assert world.fail(slow).reason == "late"
    assert world.succeed(quick).kept
    assert world.succeed(slow).reason == "late"
    assert world.succeed(quick).kept, "its reply was lost"
    assert world.start(request_id, "link:0").reason == "settled"


def test_a_link_that_nobody_published_comes_again(world: World) -> None:
    request_id = ended(world, links=[link()])
    assert world.watch(14) == []
    (order,) = world.watch(1)
    assert (order.request_id, order.ref) == (request_id, "link:0")
    world.ledger.published([order])
    assert world.watch(60, every=5) == []


def test_a_link_whose_message_was_lost_comes_again(world: World) -> None:
    request_id = ended(world, links=[link()])
    world.published(request_id, "link:0")
    world.clock.forward(60)
    assert [order.ref for order in world.sweep({"q:normal": world.clock()})] == ["link:0"]
    assert "link:0" in world.due(request_id)


def test_a_link_that_kills_its_processes_is_lost_at_the_cap(world: World) -> None:
    request_id = ended(world)
    for _ in range(3):
        world.start(request_id, "link:0")
        assert world.ledger.died(world.order(request_id, "link:0"), "p1").kept
    assert (world.record(request_id, "link:0")["state"], world.state(request_id)) == ("lost", "complete")


def test_a_link_that_must_not_run_twice_does_not(world: World) -> None:
    request_id = ended(world, links=[link(once=True)])
    world.start(request_id, "link:0")
    assert world.watch(25) == []
    assert world.record(request_id, "link:0")["state"] == "lost"


def test_a_link_that_fails_leaves_the_request_as_it_ended(world: World) -> None:
    request_id = ended(world, links=[link()])
    head = world.head(request_id)
    assert world.fail(world.start(request_id, "link:0")).state == "failed"
    assert world.head(request_id) == head
    assert (world.state(request_id), world.due(request_id)) == ("complete", {})
    assert world.watch(60, every=5) == []


def test_a_link_may_ask_to_be_tried_again(world: World) -> None:
    request_id = ended(world, links=[link()], calls={"link:0": "first"})
    assert world.again(world.start(request_id, "link:0"), 300, b"second").delay_ms == 300_000
    (order,) = world.watch(300, every=100)
    assert (order.ref, order.call) == ("link:0", "second")
    assert world.start(request_id, "link:0").go


def test_a_link_is_handed_back(world: World) -> None:
    request_id = ended(world, links=[link()])
    reply = world.ledger.settle(world.start(request_id, "link:0").held, "queued")
    assert [order.ref for order in reply.orders] == ["link:0"]


def test_a_revoked_link_has_ended(world: World) -> None:
    request_id = ended(world, links=[link()])
    assert world.ledger.died(world.order(request_id, "link:0"), None, "cancelled", REVOKED).kept
    assert world.record(request_id, "link:0")["state"] == "cancelled"
    assert (world.state(request_id), world.due(request_id)) == ("complete", {})


def test_a_link_is_no_part_of_the_report(world: World) -> None:
    request_id = ended(world)
    report = world.reader.report(request_id)
    assert (list(report.outcomes), list(report.stages)) == (["a", "b"], ["gathering"])


# The result -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["complete", "partial", "failed", "cancelled"])
def test_the_result_of_every_end_is_handed_out_until_it_is_stored(world: World, how: str) -> None:
    request_id = ended(world, how, links=(), result_id="task-1")
    assert follows(world, request_id) == {RESULT}
    for _ in range(3):
        (order,) = world.watch(15)
        assert (order.ref, order.name, order.request_id) == (RESULT, "task-1", request_id)
    world.ledger.published([order])
    assert (follows(world, request_id), world.due(request_id)) == (set(), {})
    assert world.watch(60, every=5) == []


def test_a_result_comes_again_until_it_is_stored(world: World) -> None:
    test_the_result_of_every_end_is_handed_out_until_it_is_stored(world, "complete")


def test_a_cancel_hands_out_its_result(world: World) -> None:
    request_id = world.open("a", links=LINKS, result_id="task-1")
    assert [order.ref for order in world.ledger.cancel(request_id).orders] == [RESULT]


def test_a_result_is_nothing_to_start_or_to_settle(world: World) -> None:
    request_id = ended(world, result_id="task-1")
    grant = world.start(request_id, RESULT)
    assert (grant.go, grant.reason) == (False, "settled")
    held = type(grant)(go=True, request_id=request_id, ref=RESULT, generation=1, attempt=1)
    assert world.succeed(held).reason == "late"
    assert not world.ledger.died(world.order(request_id, RESULT), None, "cancelled", REVOKED).kept
    assert RESULT in follows(world, request_id)


def test_what_follows_ends_with_the_requests_own_time(world: World) -> None:
    request_id = ended(world, result_id="task-1")
    for kind in ("request", "values", "calls", "events"):
        world.client.delete(world.ledger.key(kind, request_id))  # what the server does after its time
    assert world.watch(30) == []
    assert world.due(request_id) == {}


# Forgetting -------------------------------------------------------------------------------------------


def test_what_is_not_finished_is_not_forgotten(world: World) -> None:
    request_id = world.open("a", stages=[callback()], calls={"gathering": "call"})
    for ref in ("0", "gathering"):
        assert not world.ledger.forget(request_id)
        world.collect(request_id, ref)
    assert world.ledger.forget(request_id)


def test_what_is_still_on_its_way_is_not_forgotten(world: World) -> None:
    linked, stored = ended(world, links=[link()]), ended(world, links=(), result_id="task-1")
    assert not world.ledger.forget(linked)
    assert not world.ledger.forget(stored)
    world.collect(linked, "link:0")
    world.published(stored, RESULT)
    assert (world.ledger.forget(linked), world.ledger.forget(stored)) == (True, True)


def test_of_what_is_forgotten_nothing_is_left(world: World) -> None:
    request_id = world.open(run("a", call=True), calls={"0": "call"})
    world.collect(request_id, "0")
    assert (world.ledger.forget(request_id), world.ledger.forget(request_id)) == (True, False)
    kinds = ("request", "values", "calls", "events")
    assert world.client.exists(*(world.ledger.key(kind, request_id) for kind in kinds)) == 0
    assert (world.reader.page().requests, world.due(request_id)) == ([], {})
    assert not world.ledger.forget("nobody")
