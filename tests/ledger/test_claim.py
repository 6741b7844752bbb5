"""claim: deadlines, retries, lapsed leases and the outbox are one mechanism, and what is handed out comes again."""

from __future__ import annotations

from celery_collectors.ledger import Reply
from celery_collectors.model import Policy
from tests.ledger.world import World, run


def test_what_is_handed_out_and_not_confirmed_comes_again(world: World) -> None:
    request_id = world.open("a", deadline_s=300)
    world.clock.forward(15)
    assert [order.ref for order in world.sweep()] == ["0"]
    assert world.sweep() == [], "whoever was handed it has it to itself for a while"
    world.clock.forward(15)
    (order,) = world.sweep()
    assert (order.delivery, order.generation, order.stamp) == (1, 1, world.clock())
    world.ledger.published([order])
    assert world.watch(60, every=4) == []
    assert world.start(request_id).go


def test_at_the_deadline_open_runs_time_out_and_say_why(world: World) -> None:
    request_id = world.open("done", "running", "queued", run("again", retries=1, backoff_ms=60), deadline_s=5)
    world.collect(request_id, "0")
    world.start(request_id, "1")
    world.fail(world.start(request_id, "3"))
    world.watch(6)
    report = world.reader.report(request_id)
    assert (report.state, world.head(request_id)["open"]) == ("partial", "0")
    errors = {name: outcome.error.message for name, outcome in report.outcomes.items() if outcome.error}
    assert errors == {
        "running": "was still running at the deadline, after 5.0 s",
        "queued": "waited 5.0 s in the queue and never started before the deadline",
        "again": "the deadline came before another attempt; the last one failed: oops",
    }
    assert {report.outcomes[name].state for name in errors} == {"timed_out"}
    assert report.outcomes["queued"].attempts == 0


def test_a_deadline_with_too_few_answers_fails(world: World) -> None:
    request_id = world.open("a", "b", policy=Policy(min_ok=2), stages=["process"], deadline_s=5)
    world.collect(request_id, "0")
    world.watch(6)
    report = world.reader.report(request_id)
    assert report.state == "failed"
    assert report.error is not None
    assert report.error.message == "1 answered, and min_ok asks for 2"


def test_a_lapsed_lease_is_a_crash_and_the_run_goes_to_another(world: World) -> None:
    request_id = world.open(run("a", timeout_ms=60_000), deadline_s=300)
    world.sweep()
    world.start(request_id)
    assert world.watch(19) == []
    assert [order.ref for order in world.watch(2)] == ["0"]
    record = world.record(request_id)
    assert (record["state"], record["crashes"], record["failures"]) == ("queued", 1, 0)
    assert world.start(request_id, process="p2").attempt == 2


def test_a_process_that_dies_within_a_short_time_limit_is_a_crash_too(world: World) -> None:
    request_id = world.open(run("a", timeout_ms=3000), deadline_s=300)
    world.sweep()
    world.start(request_id)
    assert [order.ref for order in world.watch(15)] == ["0"]
    assert world.record(request_id)["crashes"] == 1


def test_a_living_process_that_does_not_end_its_run_in_time_is_a_time_out(world: World) -> None:
    request_id = world.open(run("a", timeout_ms=3000), deadline_s=300)
    held = world.start(request_id).held
    for _ in range(14):
        world.watch(1)
        world.ledger.renew("p1", [held])
    assert world.state(request_id) == "failed"
    outcome = world.reader.report(request_id).outcomes["a"]
    assert outcome.error is not None
    assert (outcome.state, outcome.error.message) == ("timed_out", "ran into its time limit after 3.0 s")


def test_a_lapse_of_a_process_that_renews_others_is_no_crash(world: World) -> None:
    request_id = world.open(*(run(name, timeout_ms=60_000) for name in "ab"), deadline_s=300)
    world.start(request_id, "0")
    other = world.start(request_id, "1").held
    for _ in range(6):
        world.watch(4)
        world.ledger.renew("p1", [other])
    record = world.record(request_id, "0")
    assert (record["state"], record["crashes"]) == ("queued", 0)


def test_a_run_that_kills_its_processes_is_lost_at_the_cap(world: World) -> None:
    request_id = world.open(run("poison", timeout_ms=60_000, retries=5), "b", deadline_s=300)
    for attempt in (1, 2, 3):
        assert world.record(request_id)["state"] == "queued"
        assert world.start(request_id).attempt == attempt
        world.watch(25)
    outcome = world.reader.report(request_id).outcomes["poison"]
    assert outcome.error is not None
    assert (outcome.state, outcome.error.message) == ("lost", "the process running it died 3 times")


def test_a_sweeper_that_was_away_gives_the_living_time_to_renew(world: World) -> None:
    request_id = world.open(run("a", timeout_ms=600_000), deadline_s=3000)
    world.sweep()
    held = world.start(request_id).held
    world.clock.forward(600)
    assert world.sweep() == []
    assert world.watch(3) == []
    assert world.ledger.renew("p1", [held]) == []
    assert world.watch(15) == []
    assert world.record(request_id)["attempt"] == 1


def test_after_such_a_gap_the_dead_lose_their_leases_all_the_same(world: World) -> None:
    request_id = world.open(run("a", timeout_ms=600_000), deadline_s=3000)
    world.sweep()
    world.start(request_id)
    world.clock.forward(600)
    assert [order.ref for order in world.watch(11)] == ["0"]


def test_a_sweeper_has_a_shard_for_itself(world: World) -> None:
    shard = world.ledger.shards[0]
    assert not world.ledger.claim(shard, sweeper="one").busy
    assert world.ledger.claim(shard, sweeper="two").busy
    assert not world.ledger.claim(shard, sweeper="one").busy
    assert 0 < world.client.pttl(f"{shard}:lock") <= 2500


def test_whoever_has_the_first_shard_sweeps_all_and_the_others_wait(world: World) -> None:
    first, second = world.ledger.shards
    assert world.ledger.to_sweep("one") == ((first, second), 0)
    world.ledger.claim(first, sweeper="one")
    world.ledger.claim(second, sweeper="two")  # as when two begin at once: it lapses, and is the first one's then
    assert world.ledger.to_sweep("one") == ((first, second), 0)
    shards, others_s = world.ledger.to_sweep("two")
    assert shards == ()
    assert 0 < others_s <= 2.5
    world.client.persist(f"{first}:lock")  # never so by itself; nobody must wait for ever
    assert world.ledger.to_sweep("two") == ((), 0)
    world.client.delete(f"{first}:lock")
    assert world.ledger.to_sweep("two") == ((first, second), 0)


def test_a_claim_is_limited_and_says_that_there_is_more(world: World) -> None:
    request_id = world.open(*(run(f"c[{i}]") for i in range(250)))
    world.clock.forward(16)
    shard = world.ledger.shard_of(request_id)
    replies = [world.ledger.claim(shard, sweeper="s") for _ in range(4)]
    assert [(len(reply.orders), reply.more) for reply in replies] == [
        (100, True), (100, True), (50, False), (0, False),
    ]  # fmt: skip


def test_whoever_waits_can_let_the_timer_act(world: World) -> None:
    request_id = world.open("a", "b", stages=["process"], deadline_s=5)
    world.collect(request_id, "0")
    assert world.ledger.end_if_over(request_id) == Reply()
    world.clock.forward(5)
    assert [order.ref for order in world.ledger.end_if_over(request_id).orders] == ["process"]
    assert world.state(request_id) == "processing"


def test_only_the_named_request_is_ended(world: World) -> None:
    request_id, other = world.open("a", deadline_s=5), world.open("a", deadline_s=5)
    world.clock.forward(5)
    world.ledger.end_if_over(request_id)
    assert (world.state(request_id), world.state(other)) == ("failed", "collecting")


def test_ended_requests_expire_and_leave_the_list(world: World) -> None:
    request_id = world.open("a", "b")
    world.collect(request_id, "0", "1")
    ttl_ms = world.settings.result_ttl_s * 1000
    for kind in ("request", "values", "events"):
        assert 0 < world.client.pttl(world.ledger.key(kind, request_id)) <= ttl_ms, kind
    world.clock.forward(world.settings.result_ttl_s + 1)
    world.sweep()
    assert world.client.zcard(f"{world.ledger.shard_of(request_id)}:index") == 0


def test_what_the_last_call_writes_expires_too(world: World) -> None:
    request_id = world.open("a")
    world.collect(request_id, "0")
    assert world.client.pttl(world.ledger.key("values", request_id)) > 0


def test_nothing_is_left_of_an_ended_request_among_what_is_due(world: World) -> None:
    request_id = world.open("a", "b", stages=["process"])
    world.published(request_id, "0", "1")
    world.collect(request_id, "0", "1", "process")
    world.sweep()
    assert (world.due(request_id), world.waiting(request_id)) == ({}, {})


def test_processes_that_are_long_gone_are_forgotten(world: World) -> None:
    request_id = world.open("a")
    world.start(request_id)
    world.watch(300, every=50)
    assert world.client.zcard(f"{world.ledger.shard_of(request_id)}:procs") == 0


def test_what_ends_in_one_sweep_counts_each(world: World) -> None:
    request_id = world.open(run("a", expires_ms=4000), run("b", expires_ms=4000), run("c", expires_ms=4000), "d")
    world.watch(5, every=5)
    assert (world.head(request_id)["open"], world.head(request_id)["missing"]) == ("1", "3")
