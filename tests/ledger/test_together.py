"""start and settle of several runs of one request by one call: each as if it were alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_collectors.ledger import Reply
from celery_collectors.model import Policy
from tests.ledger.world import World, run

STATES = ("ok", "ok", "empty", "failed", "timed_out", "queued")


def test_runs_of_one_message_start_together_each_with_a_lease_of_its_own(world: World) -> None:
    request_id = world.open("a", "b", "c")
    world.published(request_id, "0", "1", "2")
    grants = world.start_together(request_id, "2", "0")
    assert [(grant.go, grant.ref, grant.name, grant.attempt) for grant in grants] == [
        (True, "2", "c", 1), (True, "0", "a", 1),
    ]  # fmt: skip
    assert world.waiting(request_id).keys() == {"1"}
    assert world.due(request_id) == {"": 30_000, "0": 12_000, "2": 12_000}
    assert {world.record(request_id, ref)["state"] for ref in ("0", "2")} == {"running"}


def test_each_grant_is_what_start_alone_would_have_given(world: World) -> None:
    request_id = world.open(run("a", timeout_ms=5000), "b", deadline_s=20)
    together = world.start_together(request_id, "0", "1", token="t")
    assert together == [world.start(request_id, ref, token="t") for ref in ("0", "1")]
    assert together == world.start_together(request_id, "0", "1", token="t"), "the reply was lost"
    assert [world.record(request_id, ref)["attempt"] for ref in ("0", "1")] == [1, 1]


def test_one_that_may_not_start_says_why_and_keeps_no_other_from_starting(world: World) -> None:
    request_id = world.open("a", "b", "c", "d", run("e", expires_ms=1000))
    world.start(request_id, "0", process="p2")
    world.collect(request_id, "1")
    world.clock.forward(1)
    grants = world.start_together(request_id, "0", "1", "2", "4", "7")
    assert [(grant.go, grant.reason) for grant in grants] == [
        (False, "leased"), (False, "settled"), (True, ""), (False, "late"), (False, "unknown"),
    ]  # fmt: skip
    assert world.record(request_id, "0")["owner"] == "p2"


def test_nothing_starts_together_of_a_request_that_is_over_or_unknown(world: World) -> None:
    request_id = world.open("a", "b")
    assert [grant.reason for grant in world.start_together("nobody's", "0", "1")] == ["unknown"] * 2
    assert [grant.reason for grant in world.start_together(request_id, "0", "1", delivery=2)] == ["superseded"] * 2
    world.ledger.cancel(request_id)
    assert [grant.reason for grant in world.start_together(request_id, "0", "1")] == ["cancelled"] * 2


def test_a_message_of_several_runs_says_how_far_its_queue_has_moved(world: World) -> None:
    request_id = world.open("a", "b")
    world.start_together(request_id, "0", "1", stamp=world.clock() + 5000)
    marks: Any = world.client.hvals(f"{world.ledger.shard_of(request_id)}:marks")
    assert [float(mark) for mark in marks] == [world.clock() + 5000]


def test_what_no_message_calls_for_together_is_not_started_together(world: World) -> None:
    orders = [world.order(world.open("a", "b"), "0"), world.order(world.open("a"), "0")]
    with pytest.raises(ValueError, match="of one request"):
        world.ledger.start_together(orders, owner="p", worker="p", token="t")


def test_runs_that_were_started_together_lapse_each_alone(world: World) -> None:
    request_id = world.open("a", "b", "c")
    first, _, _ = world.start_together(request_id, "0", "1", "2")
    world.succeed(first)
    orders = world.watch(25)
    assert sorted(order.ref for order in orders) == ["1", "2"]
    assert [world.record(request_id, ref)["crashes"] for ref in ("0", "1", "2")] == [0, 1, 1]


def test_a_death_takes_what_the_process_had_of_them_and_no_more(world: World) -> None:
    request_id = world.open("a", "b", "c", "d")
    mine, _ = world.start_together(request_id, "0", "1", process="p1")
    world.start(request_id, "2", process="p2")
    world.succeed(mine)
    orders = [world.order(request_id, ref) for ref in ("0", "1", "2", "3")]
    reply = world.ledger.died_together(orders, "p1")
    assert [(order.ref, order.delivery) for order in reply.orders] == [("1", 1)]
    assert [world.record(request_id, str(n))["crashes"] for n in range(4)] == [0, 1, 0, 0]
    assert not world.ledger.died_together(orders, "p1").kept


def test_what_nobody_had_yet_of_a_message_that_is_gone_is_handed_out_at_once(world: World) -> None:
    request_id = world.open("a", "b", "c")
    world.published(request_id, "0", "1", "2")
    world.start(request_id, "1")
    reply = world.ledger.died_together([world.order(request_id, ref) for ref in ("0", "1", "2")], None)
    assert [order.ref for order in reply.orders] == ["0", "2"]


def test_runs_settled_together_complete_their_request(world: World) -> None:
    request_id = world.open("a", "b", "c")
    grants = world.start_together(request_id, "0", "1", "2")
    reply = world.settle_together(*(world.ended(grant) for grant in reversed(grants)))
    assert [(one.ref, one.kept, one.state) for one in reply.each] == [
        ("2", True, "ok"), ("1", True, "ok"), ("0", True, "ok"),
    ]  # fmt: skip
    assert reply.complete
    assert world.state(request_id) == "complete"
    assert list(world.reader.items_of(request_id, ["0", "1", "2"])) == [f"{request_id}/{n}/1" for n in range(3)]


def test_what_is_handed_back_goes_out_alone(world: World) -> None:
    request_id = world.open("a", "b", "c")
    grants = world.start_together(request_id, "0", "1", "2")
    reply = world.settle_together(world.ended(grants[0]), *(world.ended(one, "queued") for one in grants[1:]))
    assert [(order.ref, order.delivery) for order in reply.orders] == [("1", 1), ("2", 1)]
    assert [one.state for one in reply.each] == ["ok", "queued", "queued"]
    assert world.start_again(reply.orders[1]).attempt == 2


def test_one_that_failed_is_tried_again_alone_and_says_when(world: World) -> None:
    request_id = world.open("a", run("b", retries=1), "c")
    grants = world.start_together(request_id, "0", "1", "2")
    reply = world.settle_together(*map(world.ended, grants, ("failed", "failed", "ok")))
    assert [one.state for one in reply.each] == ["failed", "retrying", "ok"]
    assert [one.delay_ms is not None for one in reply.each] == [False, True, False]
    assert [order.ref for order in world.watch(2)] == ["1"]


def test_settling_together_twice_says_the_same_and_counts_once(world: World) -> None:
    request_id = world.open("a", "b", run("c", retries=1), "d")
    grants = world.start_together(request_id, "0", "1", "2")
    ended = [world.ended(grant, state) for grant, state in zip(grants, ("ok", "empty", "failed"), strict=True)]
    first, second = world.settle_together(*ended), world.settle_together(*ended)
    assert [msgspec.structs.replace(one, delay_ms=None) for one in first.each] == second.each
    head = world.head(request_id)
    assert (head["open"], head["answered"]) == ("2", "2")
    assert world.record(request_id, "2")["failures"] == 1


def test_the_stage_that_a_lost_reply_gave_is_given_again(world: World) -> None:
    request_id = world.open("a", "b", stages=["process"])
    world.client.hset(f"{world.ledger.shard_of(request_id)}:times", "t.process", "5")
    ended = [world.ended(grant) for grant in world.start_together(request_id, "0", "1")]
    replies = [world.settle_together(*ended, in_place="t") for _ in range(2)]
    assert replies[0].next == replies[1].next is not None
    assert list(world.reader.given_items(replies[0].next.given)) == [f"{request_id}/0/1", f"{request_id}/1/1"]


def test_one_that_decides_the_request_ends_the_others_of_its_message(world: World) -> None:
    request_id = world.open("a", "b", "c", policy=Policy(first=1))
    grants = world.start_together(request_id, "0", "1", "2")
    reply = world.settle_together(*map(world.ended, grants))
    assert [(one.kept, one.reason) for one in reply.each] == [(True, ""), (False, "late"), (False, "late")]
    outcomes = world.reader.report(request_id).outcomes
    assert [outcome.state for outcome in outcomes.values()] == ["ok", "skipped", "skipped"]


def test_only_what_belongs_together_is_settled_together(world: World) -> None:
    one, other = (world.start(world.open("a", "b", stages=["process"])) for _ in range(2))
    with pytest.raises(ValueError, match="of one request"):
        world.settle_together(world.ended(one), world.ended(other))
    stage = msgspec.structs.replace(one, ref="process")
    with pytest.raises(ValueError, match="only runs, or only stages"):
        world.settle_together(world.ended(one), world.ended(stage))


def test_one_alone_has_its_verdict_too(world: World) -> None:
    request_id = world.open("a", "b")
    (grant,) = world.start_together(request_id, "0")
    (verdict,) = world.settle_together(world.ended(grant)).each
    assert (verdict.ref, verdict.kept, verdict.state) == ("0", True, "ok")
    unknown = msgspec.structs.replace(grant, request_id="nobody's")
    reply = world.settle_together(world.ended(unknown), world.ended(unknown))
    assert [one.reason for one in reply.each] == ["unknown"] * 2


@given(
    states=st.lists(st.sampled_from(STATES), min_size=1, max_size=5),
    extra=st.integers(0, 1),
    policy=st.builds(Policy, min_ok=st.integers(0, 1), first=st.sampled_from((None, 1))),
    stages=st.sampled_from(((), ("process",))),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_together_comes_to_what_one_by_one_comes_to(
    world: World, states: list[str], extra: int, policy: Policy, stages: tuple[str, ...]
) -> None:
    """Whatever the states and the policy: the same records, the same counts, the same orders and answers."""
    names = [run(f"c{n}", retries=n % 2, backoff_ms=0, backoff_cap_ms=0) for n in range(len(states) + extra)]
    ends = []
    for together in (True, False):
        request_id = world.open(*names, stages=stages, policy=policy)
        grants = world.start_together(request_id, *map(str, range(len(states))))
        ended = [world.ended(*one, items=["x"]) for one in zip(grants, states, strict=True)]
        replies = [world.settle_together(*ended)] if together else [world.settle_together(one) for one in ended]
        ends.append(_what_is_there(world, request_id, replies))
    assert ends[0] == ends[1]


def _what_is_there(world: World, request_id: str, replies: list[Reply]) -> Any:
    runs = world.records(request_id)
    for record in runs.values():
        record.pop("token", None)
    orders = sorted((order.ref, order.delivery) for reply in replies for order in reply.orders)
    events = [(event.name, event.state, event.attempt) for event in world.reader.events(request_id)]
    verdicts = [verdict for reply in replies for verdict in reply.each]
    head = {name: value for name, value in world.head(request_id).items() if name != "id"}
    return head, runs, world.due(request_id), orders, events, verdicts
