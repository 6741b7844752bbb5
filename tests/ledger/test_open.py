"""open, reserve and found: a request is there whole or not at all, once, and someone will publish it."""

from __future__ import annotations

import msgspec
import pytest

from celery_collectors.errors import LedgerMismatchError, LedgerUnavailable
from celery_collectors.ledger import Ledger, RunPlan, asking
from celery_collectors.settings import Settings
from tests.ledger.world import World, run


class BreaksAfter(Ledger):
    """A client that dies after so many calls."""

    calls_left = 1

    def _call(self, *args: object, **kwargs: object) -> bytes:
        if not self.calls_left:
            raise LedgerUnavailable("the client died")
        self.calls_left -= 1
        return super()._call(*args, **kwargs)  # type: ignore[arg-type]


class LosesBetween(Ledger):
    """A client between whose calls the server loses what it holds of the request."""

    def _call(self, *args: object, **kwargs: object) -> bytes:
        if args[0] == "open":
            self.client.delete(self.key("request", "lost"))
        return super()._call(*args, **kwargs)  # type: ignore[arg-type]


@pytest.fixture
def half_open(world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """A request of three runs whose opener died after writing two of them."""
    monkeypatch.setattr(asking, "OPEN_AT_ONCE", 2)
    dying = BreaksAfter(world.client, world.settings, now_ms=world.clock)
    dying.shards  # noqa: B018 - the first call fixes the shards
    dying.calls_left = 1
    with pytest.raises(LedgerUnavailable):
        dying.open("half", topic="t", runs=[run("a"), run("b"), run("c")], deadline_s=30, finish_s=60)
    return "half"


def test_a_request_lives_from_the_moment_it_is_opened(world: World) -> None:
    request_id = world.open("a", "b", deadline_s=30)
    report = world.reader.report(request_id)
    assert report.state == "collecting"
    assert [outcome.state for outcome in report.outcomes.values()] == ["queued", "queued"]
    assert report.created_at is not None
    assert report.deadline_at is not None
    assert (report.deadline_at - report.created_at).total_seconds() == 30


def test_opening_again_changes_nothing(world: World) -> None:
    request_id = world.open("a", "b")
    world.collect(request_id, "0")
    before = world.head(request_id), world.record(request_id, "0")
    assert world.open_as(request_id, "x", "y", "z") is False
    assert (world.head(request_id), world.record(request_id, "0")) == before


def test_what_nobody_publishes_is_handed_out_by_a_sweeper(world: World) -> None:
    request_id = world.open("a", "b")
    assert world.watch(14) == []
    orders = world.watch(3)
    assert [(order.request_id, order.ref, order.queue) for order in orders] == [
        (request_id, "0", "q"),
        (request_id, "1", "q"),
    ]


def test_an_unsealed_request_does_not_exist_and_is_never_handed_out(world: World, half_open: str) -> None:
    assert world.state(half_open) == "unknown"
    assert not world.start(half_open, "0").go
    assert world.watch(60, every=5) == []
    assert world.reader.page().requests == []


def test_whoever_finds_an_unsealed_request_can_open_it(world: World, half_open: str) -> None:
    assert world.open_as(half_open, "a", "b", "c") is True
    assert world.head(half_open)["open"] == "3"
    assert world.client.pttl(world.ledger.key("request", half_open)) == -1


def test_what_is_never_sealed_goes_away_by_itself(world: World, half_open: str) -> None:
    key = world.ledger.key("request", half_open)
    assert 0 < world.client.pttl(key) <= 3_600_000
    world.client.delete(key)  # what the server does after an hour
    world.watch(60, every=5)
    assert world.due(half_open) == {}


def test_sealing_what_has_lost_its_beginning_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "OPEN_AT_ONCE", 2)
    losing = LosesBetween(world.client, world.settings, now_ms=world.clock)
    with pytest.raises(Exception, match="has 1 of its 3 runs: open it again"):
        losing.open("lost", topic="t", runs=[run("a"), run("b"), run("c")], deadline_s=30, finish_s=60)
    assert world.state("lost") == "unknown"


def test_many_runs_are_written_in_chunks_and_live_together(world: World) -> None:
    request_id = world.open(*(run(f"c[{i}]") for i in range(1201)))
    assert len(world.reader.report(request_id).outcomes) == 1201
    assert len(world.due(request_id)) == 1202


def test_an_idempotency_key_belongs_to_the_first(world: World) -> None:
    assert world.ledger.reserve("key", "first") == "first"
    assert world.ledger.reserve("key", "second") == "first"
    assert world.ledger.reserve("other", "second") == "second"
    assert world.client.pttl(f"{world.ledger.shard_of('key')}:key:key") > 0


def test_the_number_of_shards_can_never_change(world: World) -> None:
    world.open("a")
    other = Ledger(world.client, Settings(prefix=world.settings.prefix, shards=3), now_ms=world.clock)
    with pytest.raises(LedgerMismatchError, match="COLLECTORS_SHARDS=2"):
        other.reserve("key", "id")


def test_a_ledger_of_another_layout_is_left_alone_and_says_what_to_do(world: World) -> None:
    world.open("a")
    world.client.hset(f"{world.ledger.fleet}:meta", "schema", 1)
    other = Ledger(world.client, world.settings, now_ms=world.clock)
    with pytest.raises(LedgerMismatchError, match=r"schema 1, this one has 2.*another COLLECTORS_PREFIX"):
        other.reserve("key", "id")


def test_a_topic_that_looks_like_a_number_stays_text(world: World) -> None:
    request_id = world.open("a", topic="1e3", deadline_s=1)
    assert world.reader.report(request_id).topic == "1e3"
    (order,) = world.watch(0.5, every=0.5) or world.sweep() or [world.full_order(request_id, "0")]
    assert world.start(request_id, order.ref).topic == "1e3"


def test_every_key_of_a_shard_shares_its_hash_tag(world: World) -> None:
    request_id = world.open("a", "b", stages=["process"])
    world.published(request_id, "0", "1")
    world.collect(request_id, "0", "1", "process")
    world.ledger.reserve("a {strange} key", request_id)
    world.sweep()
    world.ledger.beat("w", queues=["q"], pool="threads", processes=1, idle_s=None)
    tags = tuple(f"{world.settings.prefix}:{{{tag}}}:" for tag in ("0", "1", "fleet"))
    found = [key.decode() for key in world.client.scan_iter(f"{world.settings.prefix}:*")]
    assert len(found) > 10
    assert [key for key in found if not key.startswith(tags)] == []


def test_a_plan_keeps_its_own_fields(world: World) -> None:
    plan = RunPlan(
        name="ä", task="t.ä", queue="own", retries=2, timeout_ms=5000, backoff_ms=1, backoff_cap_ms=2, required=True
    )
    request_id = world.open(plan)
    grant = world.start(request_id)
    assert (grant.name, grant.ends_in_ms, grant.deadline_at - world.clock()) == ("ä", 5000, 30_000)
    record = world.record(request_id)
    assert {name: record.get(name) for name in msgspec.to_builtins(plan)} == msgspec.to_builtins(plan)
    assert set(RunPlan.__struct_fields__) - set(msgspec.to_builtins(plan)) == {
        "call", "priority", "once", "more", "delay_ms", "expires_ms",
    }, "a chord's fields are left out where there is no chord"  # fmt: skip
    assert set(record).isdisjoint({"call", "priority", "once", "more", "delay_ms", "expires_ms", "expires_at"})
