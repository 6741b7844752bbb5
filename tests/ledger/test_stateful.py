"""The ledger against everything that can go wrong at once: random interleavings of every verb.

Around the ledger stand a broker that loses, doubles and reorders messages, clients and workers that
die between any two calls, replies that get lost, sweepers that are away, and time. After every call
the laws of ``laws.py`` must hold, and at the end every request must come to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from celery_collectors.ledger import Grant, Order, Reply
from celery_collectors.ledger import ledger as ledger_module
from celery_collectors.model import RUN_ENDED, Policy
from tests.ledger import laws, snapshot
from tests.ledger.snapshot import Plan, Request
from tests.ledger.world import QUEUE, World, label, lost_stamps, oops, run, stage

SWEEP_MS = 1000
STEPS_MS = (1, 300, 1000, 2000, 4000, 4000)
GAPS_MS = (1000, 13_000, 13_000, 21_000, 60_000)
PROCESSES = ("p1", "p2", "p3")
CHUNK = 2
ENDS = ("goes on", "goes on", "goes on", "ok", "failed", "failed", "timed_out")

plans = st.builds(
    lambda required, min_ok, first, stages, deadline_s, finish_s: Plan(
        names=tuple(f"c{number}" for number in range(len(required))),
        required=tuple(required),
        policy=Policy(min_ok=min(min_ok, len(required)), first=first and min(first, len(required))),
        stages=tuple(ref for ref in ("gathering", "cleanup", "process") if ref in stages),
        deadline_ms=deadline_s * 1000,
        finish_ms=finish_s * 1000,
    ),
    required=st.lists(st.sampled_from((False, False, True)), min_size=1, max_size=5),
    min_ok=st.integers(0, 4),
    first=st.sampled_from((None, None, 1, 2)),
    stages=st.sets(st.sampled_from(("gathering", "cleanup", "process"))),
    deadline_s=st.sampled_from((5, 60, 300, 300)),
    finish_s=st.sampled_from((5, 60, 300)),
)
picks = st.integers(0, 1_000_000)


class Faults(RuleBasedStateMachine):
    """One ledger under fire."""

    client: Redis
    prefixes: Callable[[], str]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.client, self.prefixes())
        self.world.ledger.shards  # noqa: B018 - fixed before the first fault
        self.plans: dict[str, Plan] = {}
        self.before: dict[str, Request] = {}
        self.in_hand: list[Order] = []  # handed out to somebody who has not published them yet
        self.unconfirmed: list[Order] = []
        self.broker: list[Order] = []
        self.running: list[tuple[Grant, str]] = []
        self.asked: list[tuple[Order, str, str]] = []
        self.old: list[Grant] = []
        self.offered: dict[tuple[str, str], set[str]] = {}
        self.leases: dict[tuple[str, str], float] = {}
        self.swept: dict[str, int] = {}
        self.marks: dict[str, float] = {}
        self.tokens = count(1)
        self.workless = False
        self.calls = 0

    # Clients --------------------------------------------------------------------------------------

    @initialize(plan=plans, workless=st.booleans())
    def first(self, plan: Plan, workless: bool) -> None:
        self.workless = workless
        self._open("first", plan, chunks=9)
        self.in_hand += [self._order("first", str(ref)) for ref in range(len(plan.names))]

    @precondition(lambda self: len(self.plans) < 3)
    @rule(plan=plans, chunks=st.sampled_from((1, 9, 9)), publishes=st.booleans())
    def open(self, plan: Plan, chunks: int, publishes: bool) -> None:
        request_id = f"r{len(self.plans)}"
        if self._open(request_id, plan, chunks) and publishes:
            self.in_hand += [self._order(request_id, str(ref)) for ref in range(len(plan.names))]

    @rule(pick=picks)
    def open_again(self, pick: int) -> None:
        request_id = self._pick(sorted(self.plans), pick)
        assert self._open(request_id, self.plans[request_id], chunks=9) == (request_id not in self.before)

    def _open(self, request_id: str, plan: Plan, chunks: int) -> bool:
        """Open a request; the client dies after so many chunks of two runs."""
        self.plans[request_id] = plan
        runs = [
            run(name, required=required, retries=1 + place % 2, timeout_ms=9000 if place % 2 else 90_000)
            for place, (name, required) in enumerate(zip(plan.names, plan.required, strict=True))
        ]
        calls = iter(range(chunks))
        ledger = self.world.ledger
        call = ledger._call
        dies = _Dies(call, calls)
        ledger._call = dies  # type: ignore[method-assign]
        try:
            return ledger.open(
                request_id,
                topic="t",
                runs=runs,
                stages=[stage(ref) for ref in plan.stages],
                policy=plan.policy,
                deadline_s=plan.deadline_ms / 1000,
                finish_s=plan.finish_ms / 1000,
            )
        except StopIteration:
            return False
        finally:
            ledger._call = call  # type: ignore[method-assign]

    @precondition(lambda self: self.calls > 60)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        self.calls = 0
        request_id = self._pick(sorted(self.plans), pick)
        state = self.world.ledger.cancel(request_id)
        before = self.before.get(request_id)
        assert state == ("unknown" if before is None else before.state if before.ended else "cancelled")

    # The broker -----------------------------------------------------------------------------------

    @rule(pick=picks, ends=st.lists(st.sampled_from(ENDS), min_size=1, max_size=4))
    def good_moment(self, pick: int, ends: list[str]) -> None:
        """For once, everything is published, confirmed and started, and some of it ends."""
        self._publish_all()
        for order in self.broker:
            self._start(order, PROCESSES[pick % 3], f"token-{next(self.tokens)}", False)
            self.laws()
        self.broker = []
        working, self.running = self.running, []
        for place, (grant, process) in enumerate(working):
            end = ends[place % len(ends)]
            if end == "goes on":
                self.running.append((grant, process))
            else:
                self.old.append(grant)
                self._heard(self._settle(grant, end), process)
                self.laws()

    @precondition(lambda self: self.in_hand)
    @rule(pick=picks, copies=st.sampled_from((0, 1, 1, 1, 2)), confirms=st.booleans())
    def publish(self, pick: int, copies: int, confirms: bool) -> None:
        order = self.in_hand.pop(pick % len(self.in_hand))
        self.broker += [order] * copies
        if confirms:
            self.world.ledger.published([order])
        else:
            self.unconfirmed.append(order)

    @precondition(lambda self: self.unconfirmed)
    @rule(pick=picks)
    def confirm_late(self, pick: int) -> None:
        self.world.ledger.published([self._pick(self.unconfirmed, pick)])

    @precondition(lambda self: self.broker)
    @rule(pick=picks, redelivered=st.booleans(), lost_reply=st.sampled_from((False, False, True)))
    def deliver(self, pick: int, redelivered: bool, lost_reply: bool) -> None:
        at = pick % len(self.broker)
        order = self.broker[at] if redelivered else self.broker.pop(at)
        self._start(order, PROCESSES[pick % 3], f"token-{next(self.tokens)}", lost_reply)

    def _publish_all(self) -> None:
        for order in self.in_hand:
            self.broker.append(order)
            self.world.ledger.published([order])
        self.in_hand = []

    @rule(pick=picks, generation=st.sampled_from((0, 1, 2)), delivery=st.sampled_from((0, 2)))
    def deliver_stale(self, pick: int, generation: int, delivery: int) -> None:
        request_id = self._pick(sorted(self.plans), pick)
        order = self._order(request_id, "0", generation=generation, delivery=delivery)
        self._start(order, "p1", f"token-{next(self.tokens)}", False)

    @precondition(lambda self: self.asked)
    @rule(pick=picks)
    def ask_again(self, pick: int) -> None:
        self._start(*self._pick(self.asked, pick), False)

    def _start(self, order: Order, process: str, token: str, lost_reply: bool) -> None:
        grant = self.world.ledger.start(order, owner=process, worker=process, token=token)
        self._check_start(order, token, grant)
        if lost_reply:
            self.asked.append((order, process, token))
        if grant.go:
            self._begun(grant, process, lost_reply)

    def _check_start(self, order: Order, token: str, grant: Grant) -> None:
        """It starts exactly when it may: nobody has it, and it is wanted."""
        before = self.before.get(order.request_id)
        record = before and before.records.get(order.ref)
        if before is None or record is None:
            assert grant.reason == "unknown"
            return
        on_time = self.world.clock() < before.head["finish_at" if order.ref in before.stages else "deadline_at"]
        wanted = on_time and not before.ended and "closing" not in before.head
        wanted = wanted and (order.generation, order.delivery) == (1, 1)
        same = record["state"] == "running" and record["token"] == token
        assert grant.go == (wanted and (record["state"] == "queued" or same)), (grant, record)
        if grant.go:
            assert grant.attempt == record["attempt"] + (not same)

    def _begun(self, grant: Grant, process: str, lost_reply: bool = False) -> None:
        key = grant.request_id, grant.ref
        self.leases[key] = min(self.world.clock() + 20_000, grant.ends_at + laws.GRACE_MS)
        if not grant.ref.isdigit():
            self._check_input(grant.request_id, grant.ref)
        if not lost_reply:
            self.running.append((grant, process))

    def _check_input(self, request_id: str, ref: str) -> None:
        """A stage reads every item of every answer (or of the stage before it), each once."""
        request = snapshot.take(self.world, self.plans)[request_id]
        begun = request.plan.stages.index(ref)
        sources = [request.plan.stages[begun - 1]] if begun else sorted(request.runs)
        expected = [f"{request_id}/{source}/" for source in sources if request.records[source]["state"] == "ok"]
        found = list(self.world.reader.items_before(request_id, ref))
        assert [item.rpartition("/")[0] + "/" for item in found] == expected
        for item in found:
            assert item in self.offered[request_id, item.split("/")[1]]

    # Workers --------------------------------------------------------------------------------------

    @precondition(lambda self: self.running)
    @rule(pick=picks, state=st.sampled_from(("ok", "ok", "ok", "empty", "failed", "timed_out", "queued")),
          retryable=st.booleans(), in_place=st.booleans(), reply_lost=st.sampled_from((False, False, True)))  # fmt: skip
    def settle(self, pick: int, state: str, retryable: bool, in_place: bool, reply_lost: bool) -> None:
        grant, process = self.running.pop(pick % len(self.running))
        self.old.append(grant)
        reply = self._settle(grant, state, retryable=retryable, process=process if in_place else None)
        if not reply_lost:
            self._heard(reply, process)

    @precondition(lambda self: self.old)
    @rule(pick=picks, state=st.sampled_from(("ok", "empty", "failed", "queued")), retryable=st.booleans())
    def settle_again(self, pick: int, state: str, retryable: bool) -> None:
        grant = self._pick(self.old, pick)
        self._heard(self._settle(grant, state, retryable=retryable), "p1")

    def _settle(
        self, grant: Grant, state: str, *, retryable: bool = True, process: str | None = None
    ) -> Reply:
        ledger = self.world.ledger
        state = "ok" if state == "empty" and not grant.ref.isdigit() else state
        go_on = process and ledger.who(process, process, f"in-place-{next(self.tokens)}")
        if state == "ok":
            self.offered.setdefault((grant.request_id, grant.ref), set()).add(label(grant))
            reply = self.world.succeed(grant, in_place=process and f"in-place-{next(self.tokens)}")
        else:
            error = oops(retryable=retryable) if state in {"failed", "timed_out"} else None
            reply = ledger.settle(grant.held, state, error=error, go_on=go_on or None)
        self._check_settled(grant, state, reply)
        return reply

    def _check_settled(self, grant: Grant, state: str, reply: Reply) -> None:
        before = self.before[grant.request_id]
        record = before.records[grant.ref]
        current = record["state"] == "running" and record["attempt"] == grant.attempt
        ended = before.ended or record["state"] in RUN_ENDED
        if state in {"ok", "empty"} and not ended:
            assert (reply.kept, reply.state) == (True, state), "an open run takes a success of any attempt"
        if current and not ended:
            assert reply.kept
        if not current and state not in {"ok", "empty"}:
            after = snapshot.take(self.world, self.plans)[grant.request_id]
            assert after.records == before.records, "a stale attempt changed something"

    def _heard(self, reply: Reply, process: str) -> None:
        self.in_hand += reply.orders
        if reply.next is not None:
            self._begun(reply.next, process)

    @rule(process=st.sampled_from(PROCESSES))
    def renew(self, process: str) -> None:
        held = [grant.held for grant, owner in self.running if owner == process]
        gone = {one for one, _ in self.world.ledger.renew(process, held)}
        for grant, owner in list(self.running):
            if owner == process:
                self._renewed(grant, owner, grant.held in gone)

    def _renewed(self, grant: Grant, process: str, gone: bool) -> None:
        record = self.before[grant.request_id].records[grant.ref]
        has_it = record["state"] == "running" and record["attempt"] == grant.attempt
        assert gone == (not has_it or self.before[grant.request_id].state == "cancelled")
        if gone:
            self.running.remove((grant, process))
            self.old.append(grant)
        else:
            lease = min(self.world.clock() + 20_000, grant.ends_at + laws.GRACE_MS)
            self.leases[grant.request_id, grant.ref] = lease

    @rule(process=st.sampled_from(PROCESSES), seen=st.booleans())
    def crash(self, process: str, seen: bool) -> None:
        dead = [grant for grant, owner in self.running if owner == process]
        self.running = [(grant, owner) for grant, owner in self.running if owner != process]
        self.old += dead
        for grant in dead if seen else ():
            order = self._order(grant.request_id, grant.ref)
            reply = self.world.ledger.died(self.world.order(order.request_id, order.ref), process)
            self.leases.pop((grant.request_id, grant.ref), None)
            self._heard(reply, process)
            self.laws()

    # Sweepers and time ----------------------------------------------------------------------------

    @rule(pick=picks, heard=st.sampled_from((True, True, False)))
    def claim(self, pick: int, heard: bool) -> None:
        self._claim(self.world.ledger.shards[pick % 2], f"s{pick % 3}", heard)

    def _claim(self, shard: str, sweeper: str, heard: bool = True) -> Reply:
        now = self.world.clock()
        if now - self.swept.get(shard, 0) > 2500:
            self.client.delete(f"{shard}:lock")  # it lapses on the server's clock, which the test does not have
        lost = lost_stamps(self.marks, self.world.reader.workers(), now, 30_000)
        reply = self.world.ledger.claim(shard, sweeper=sweeper, lost=lost)
        if not reply.busy:
            self._check_claim(shard)
            self.swept[shard] = now
        for key, stamp in reply.marks.items():
            self.marks[key] = max(self.marks.get(key, 0), stamp)
        if heard:
            self._heard(reply, sweeper)
        return reply

    def _check_claim(self, shard: str) -> None:
        """Nobody loses a run to a sweeper before its lease is over, or right after the sweepers were away."""
        now = self.world.clock()
        away = now - self.swept.get(shard, 0) > 5000
        for request_id, after in snapshot.take(self.world, self.plans).items():
            for ref, record in self.before[request_id].records.items() if request_id in self.before else ():
                if record["state"] == "running" and after.records[ref]["state"] in {"queued", "retrying", "lost"}:
                    assert now >= self.leases[request_id, ref], f"{ref} was taken away before its lease was over"
                    assert not away, "no lease lapses right after a gap"

    @rule(pick=picks)
    def let_the_timer_act(self, pick: int) -> None:
        self._heard(self.world.ledger.end_if_over(self._pick(sorted(self.plans), pick)), "p1")

    @rule(idle_s=st.sampled_from((None, 5.0, 31.0)))
    def beat(self, idle_s: float | None) -> None:
        self.world.ledger.beat("w", queues=[QUEUE], pool="threads", processes=1, idle_s=idle_s)

    @rule(step_ms=st.sampled_from(STEPS_MS), steps=st.integers(1, 6), renewing=st.sets(st.sampled_from(PROCESSES)))
    def time_passes(self, step_ms: int, steps: int, renewing: set[str]) -> None:
        for _ in range(steps):
            self.world.clock.ms += step_ms
            for process in sorted(renewing):
                self.renew(process)
                self.laws()
            self._sweep_all()

    @rule(gap_ms=st.sampled_from(GAPS_MS))
    def nobody_sweeps(self, gap_ms: int) -> None:
        self.world.clock.ms += gap_ms

    # What must hold -------------------------------------------------------------------------------

    @invariant()
    def laws(self) -> None:
        self.calls += 1
        after = snapshot.take(self.world, self.plans)
        for request_id, request in after.items():
            laws.always(request, self.world.clock())
            if request_id in self.before:
                laws.between(self.before[request_id], request)
        assert set(self.before) <= set(after)
        self.before = after

    def teardown(self) -> None:
        """No more faults: everything comes to its end in time, and nothing is left over."""
        while any(not request.ended for request in self.before.values()):
            late = [r for r in self.before.values() if not r.ended and self._over(r)]
            assert not late, f"{late} should have ended by now"
            self._honest_second()
        for _ in range(2):
            self._sweep_all()
        self.laws()
        for request_id, request in self.before.items():
            assert (request.due, request.waiting) == ({}, {})
            assert all(ttl > 0 or ttl == -2 for ttl in request.ttls)
            self._check_report(request_id, request)

    def _over(self, request: Request) -> bool:
        """Whether a sweep came after the last moment that a request may take, and it has not ended."""
        last = self.swept.get(self.world.ledger.shard_of(request.request_id), 0)
        return bool(last > request.head["finish_at"] + SWEEP_MS)

    def _honest_second(self) -> None:
        self.world.clock.ms += SWEEP_MS * (5 if self.workless else 1)
        self._sweep_all()
        if self.workless:
            return
        self.good_moment(0, ["ok"])

    def _sweep_all(self) -> None:
        for shard in self.world.ledger.shards:
            more = True
            while more:
                self.client.delete(f"{shard}:lock")
                more = self._claim(shard, "honest").more
                self.laws()

    def _check_report(self, request_id: str, request: Request) -> None:
        """Every answer's items are there, exactly once."""
        report = self.world.reader.report(request_id)
        assert report.is_final
        answered = [ref for ref in sorted(request.runs, key=int) if request.runs[ref]["state"] == "ok"]
        assert self.world.reader.answered(request_id) == answered
        for ref in answered:
            (item,) = self.world.reader.items_of(request_id, [ref])
            assert item in self.offered[request_id, ref]

    # Words ----------------------------------------------------------------------------------------

    def _order(self, request_id: str, ref: str, *, generation: int = 1, delivery: int = 1) -> Order:
        changes = {"generation": generation, "delivery": delivery}
        named = {"name": ref, "task": f"t.{ref}", "queue": QUEUE, "topic": "t", "priority": "normal"}
        return Order(**self.world.order(request_id, ref, **changes) | named)

    @staticmethod
    def _pick(from_: list[Any], pick: int) -> Any:
        return from_[pick % len(from_)]


class _Dies:
    """A ledger's calls, until the client dies."""

    def __init__(self, call: Callable[..., bytes], calls: Any) -> None:
        self._call, self._calls = call, calls

    def __call__(self, *args: Any, **kwargs: Any) -> bytes:
        next(self._calls)
        return self._call(*args, **kwargs)


def machine(client: Redis, prefix: str) -> type[Faults]:
    """The machine, bound to a server; every run of it gets a ledger of its own."""
    numbers = count(1)
    names = {"client": client, "prefixes": staticmethod(lambda: f"{prefix}.{next(numbers)}")}
    return type("BoundFaults", (Faults,), names)


def test_the_laws_hold_whatever_happens(
    ledger_client: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "OPEN_AT_ONCE", CHUNK)
    run_state_machine_as_test(
        machine(ledger_client, prefix), settings=settings(max_examples=60, stateful_step_count=50)
    )
