"""What stands around the ledger in ``test_stateful.py``, and what it knows must be true of every answer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
)
from redis import Redis

from celery_collectors.ledger import RESULT, Grant, Held, Order, Reply, RunPlan, Settled, WorkerBeat
from celery_collectors.model import RUN_ENDED, ErrorInfo
from tests.ledger import laws, snapshot
from tests.ledger.snapshot import Plan, Request
from tests.ledger.world import QUEUE, World, label, link, lost_stamps, oops, run, stage, step

SWEEP_MS = 1000
PROCESSES = ("p1", "p2", "p3")
REVOKED = ErrorInfo(type="Revoked", kind="system", message="its task was revoked", retryable=True)
TRAITS: dict[str, dict[str, Any]] = {
    "": {},
    "chain": {"more": (step("next", timeout_ms=20_000),)},
    "once": {"once": True, "retries": 0},
    "chain once": {"more": (step("next", once=True),)},
    "expires": {"expires_ms": 16_000},
    "delay": {"delay_ms": 3000},
}


class Surroundings(RuleBasedStateMachine):
    """Clients, a broker, processes and sweepers, as far as they are not at fault."""

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
        self.offered: dict[tuple[str, str, int], set[str]] = {}
        self.asked_again: dict[str, dict[tuple[str, int], int]] = {}
        self.revoked: dict[str, set[str]] = {}
        self.stored: set[tuple[str, int]] = set()
        self.deliveries: dict[Held, int] = {}
        self.leases: dict[Held, float] = {}
        self.swept: dict[str, int] = {}
        self.marks: dict[str, float] = {}
        self.workers: list[WorkerBeat] = []
        self.tokens = count(1)
        self.workless = False
        self.calls = 0

    def _open(self, request_id: str, plan: Plan, chunks: int, publishes: bool = False) -> bool:
        """Open a request; the client dies after so many chunks of two runs."""
        self.plans[request_id] = plan
        calls = iter(range(chunks))
        ledger = self.world.ledger
        call = ledger._call
        dies = _Dies(call, calls)
        ledger._call = dies  # type: ignore[method-assign]
        try:
            opened = ledger.open(
                request_id,
                topic="t",
                runs=[_run(plan, place) for place in range(len(plan.names))],
                stages=[stage(ref) for ref in plan.stages],
                policy=plan.policy,
                deadline_s=plan.deadline_ms / 1000,
                finish_s=plan.finish_ms / 1000,
                links=[link(kind) for kind in plan.links],
                result_id=request_id if plan.has_result else None,
            )
        except StopIteration:
            return False
        finally:
            ledger._call = call  # type: ignore[method-assign]
        if opened and publishes:
            refs = [str(place) for place in range(len(plan.names))]
            self.in_hand += [self._order(request_id, ref) for ref in refs if plan.is_due_at_once(ref)] + opened.orders
        return bool(opened)

    def _confirm(self, order: Order) -> None:
        """The broker has it; or Celery's backend, if it is a result."""
        self.world.ledger.published([order])
        if order.ref == RESULT:
            self.stored.add((order.request_id, order.generation))

    def _start_all(self, process: str, *, replies_lost: bool = False) -> None:
        for order in self.in_hand:
            self.broker += [order] * (order.ref != RESULT)
            self._confirm(order)
        self.in_hand = []
        for order in self.broker:
            token = f"token-{next(self.tokens)}"
            for lost in (True, False) if replies_lost else (False,):
                self._start(order, process, token, lost)
                self.laws()
        self.broker = []

    def _start(self, order: Order, process: str, token: str, lost_reply: bool) -> None:
        alone = not any(held.alone for held, holder in self.running if holder == process)
        grant = self.world.ledger.start(order, owner=process, worker=process, token=token, alone=alone)
        self._check_start(order, token, grant, alone)
        if lost_reply:
            self.asked.append((order, process, token))
        if grant.go:
            self._begun(grant, process, lost_reply)

    def _start_together(self, orders: list[Order], process: str, lost_reply: bool) -> None:
        token = f"token-{next(self.tokens)}"
        unique = list({order.ref: order for order in orders}.values())
        for lost in (True, False) if lost_reply else (False,):
            grants = self.world.ledger.start_together(unique, owner=process, worker=process, token=token)
            for order, grant in zip(unique, grants, strict=True):
                self._check_start(order, token, grant, alone=False)
                if grant.go:
                    self._begun(grant, process, lost)
            self.laws()

    def _check_start(self, order: Order, token: str, grant: Grant, alone: bool) -> None:
        """It starts exactly when it may: nobody has it, it is wanted, and may go with what else is there."""
        before = self.before.get(order.request_id)
        record = before and before.records.get(order.ref)
        if before is None or record is None:
            assert grant.reason == "unknown"
            return
        until = before.head["finish_at" if order.ref in before.stages else "deadline_at"]
        on_time = self.world.clock() < min(until, record.get("expires_at", until))
        wanted = on_time and not before.ended and "closing" not in before.head
        wanted = wanted or order.ref in before.links
        named = order.generation, order.delivery
        wanted = wanted and named == (before.generation, record["delivery"])
        same = record["state"] == "running" and record["token"] == token
        goes_alone = 0 < record["crashes"] == self.world.settings.crash_cap - 1
        may_begin = record["state"] == "queued" and (alone or not goes_alone)
        assert grant.go == (wanted and (may_begin or same)), (grant, record)
        if grant.go:
            assert grant.alone == goes_alone
            assert grant.attempt == record["attempt"] + (not same)
            assert grant.step == record.get("step", 0)

    def _begun(self, grant: Grant, process: str, lost_reply: bool = False) -> None:
        lease = min(self.world.clock() + 20_000, grant.ends_at + laws.GRACE_MS)
        self.leases.setdefault(grant.held, lease)  # asking again does not renew it
        self.deliveries[grant.held] = self.world.record(grant.request_id, grant.ref)["delivery"]
        if grant.ref in self.plans[grant.request_id].stages:
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
            self._check_offered(request, item.split("/")[1], item)

    def _check_offered(self, request: Request, ref: str, item: str) -> None:
        """It comes from an attempt of this run or stage, and not from a chain's earlier task."""
        assert item in self.offered[request.request_id, ref, request.plan.last_step(ref)]

    def _settle(self, grant: Grant, state: str, *, retryable: bool = True, process: str | None = None) -> Reply:
        ledger = self.world.ledger
        state = "ok" if state == "empty" and not grant.ref.isdigit() else state
        go_on = process and ledger.who(process, process, f"in-place-{next(self.tokens)}")
        if state == "ok":
            self.offered.setdefault((grant.request_id, grant.ref, grant.step), set()).add(label(grant))
            reply = self.world.succeed(grant, in_place=process and f"in-place-{next(self.tokens)}")
        elif state == "again":
            state, reply = "failed", self._ask_again(grant)
        else:
            error = oops(retryable=retryable) if state in {"failed", "timed_out"} else None
            reply = ledger.settle(grant.held, state, error=error, go_on=go_on or None)
        self._check_settled(grant, state, reply)
        return reply

    def _settle_together(self, grants: list[Grant], states: list[str], process: str) -> Reply:
        """Settle these by one call, and by the same again, as after a lost reply."""
        token = f"in-place-{next(self.tokens)}"
        ended = [self._ended(grant, state) for grant, state in zip(grants, states, strict=True)]
        before = self.before[grants[0].request_id]
        reply = self.world.settle_together(*ended, in_place=token, process=process)
        self._check_together(grants, ended, reply)
        current = before.records.get(grants[0].ref, {})
        if len(grants) == 1:
            self._check_settled(grants[0], states[0], reply)
        elif current.get("state") == "running" and current["attempt"] == grants[0].attempt and not before.ended:
            assert reply.each[0].kept == (before.generation == grants[0].generation)
        self.laws()
        after = self.before
        again = self.world.settle_together(*ended, in_place=token, process=process)
        assert [(one.kept, one.state) for one in again.each if one.kept] == [
            (one.kept, one.state) for one in reply.each if one.kept
        ], "asking again says something else"
        assert again.next == reply.next
        self.laws()
        for request_id, request in after.items():
            now = self.before[request_id]
            assert (now.records, now.values) == (request.records, request.values), "asking again changed something"
        return reply

    def _ended(self, grant: Grant, state: str) -> Settled:
        state = "ok" if state == "empty" and not grant.ref.isdigit() else state
        if state == "ok":
            self.offered.setdefault((grant.request_id, grant.ref, grant.step), set()).add(label(grant))
        return self.world.ended(grant, state)

    def _was_settled(self, grant: Grant) -> bool:
        """Whether this attempt is said to have been kept because an earlier call kept it."""
        record = self.before[grant.request_id].records.get(grant.ref, {})
        return (record.get("settled"), record.get("generation")) == (grant.attempt, grant.generation)

    def _check_together(self, grants: list[Grant], ended: list[Settled], reply: Reply) -> None:
        """What is kept is there; of stages nothing is kept that was not made from what is kept."""
        assert [one.ref for one in reply.each] == [grant.ref for grant in grants]
        values = self.world.stored("values", grants[0].request_id)
        stands = True
        for grant, one, said in zip(grants, ended, reply.each, strict=True):
            is_step = grant.ref.isdigit() and self.plans[grant.request_id].last_step(grant.ref) > grant.step
            where = f"{grant.ref}:{grant.step}" if is_step else grant.ref
            if said.kept and one.state == "ok" and not self._was_settled(grant):
                assert values[where] == one.value
            assert stands or not said.kept
            stands = grant.ref.isdigit() or (said.kept and said.state == "ok")

    def _check_settled(self, grant: Grant, state: str, reply: Reply) -> None:
        before = self.before[grant.request_id]
        record = before.records.get(grant.ref)
        if record is None or grant.generation != before.generation:
            assert not reply.kept or self._was_settled(grant), "an attempt of an earlier generation counts"
            after = snapshot.take(self.world, self.plans)[grant.request_id]
            assert (after.records, after.values) == (before.records, before.values)
            return
        current = record["state"] == "running" and record["attempt"] == grant.attempt
        ended = (before.ended and grant.ref not in before.links) or record["state"] in RUN_ENDED
        same_step = record.get("step", 0) == grant.step
        if state in {"ok", "empty"} and not ended and same_step:
            comes_to = state if before.plan.last_step(grant.ref) == grant.step else "queued"
            assert (reply.kept, reply.state) == (True, comes_to), "an open run takes a success of any attempt"
        if current and not ended:
            assert reply.kept
        if not same_step or not (current or state in {"ok", "empty"}):
            after = snapshot.take(self.world, self.plans)[grant.request_id]
            assert after.records == before.records, "a stale attempt changed something"

    def _ask_again(self, grant: Grant) -> Reply:
        """Its task asks to be tried again, and is, if there is time."""
        record = self._record_of(grant)
        asked = self.asked_again.setdefault(grant.request_id, {})
        if record and record["state"] == "running" and record["attempt"] == grant.attempt:
            asked[grant.ref, grant.step] = asked.get((grant.ref, grant.step), 0) + 1
        after_s = laws.AGAIN_MS / 1000
        reply = self.world.ledger.settle(grant.held, "failed", error=oops(retryable=False), again_s=after_s)
        if reply.state == "retrying" and record and record["state"] == "running":
            assert reply.delay_ms == laws.AGAIN_MS
        return reply

    def _record_of(self, grant: Grant) -> dict[str, Any] | None:
        """The record as it was, if it still is of this grant's generation."""
        before = self.before[grant.request_id]
        return before.records.get(grant.ref) if before.generation == grant.generation else None

    def _named(self, grant: Grant) -> dict[str, Any]:
        """What the message named that this grant was given for."""
        named = {"generation": grant.generation, "delivery": self.deliveries[grant.held]}
        return self.world.order(grant.request_id, grant.ref, **named)

    def _died(self, grant: Grant, process: str) -> None:
        order = self._named(grant)
        self._heard(self.world.ledger.died(order, process), process)
        self.laws()

    def _revoke(self, grant: Grant, process: str | None) -> None:
        order = self._named(grant)
        reply = self.world.ledger.died(order, process, "cancelled", REVOKED)
        if reply.kept:
            self.revoked.setdefault(grant.request_id, set()).add(grant.ref)
        self._heard(reply, "p1")

    def _heard(self, reply: Reply, process: str) -> None:
        for order in reply.orders:
            before = self.before.get(order.request_id)
            record = before and before.records.get(order.ref)
            due_at = (record or {}).get("queued_at", 0)  # what has ended has none, until it is tried again
            assert self.world.clock() >= due_at, f"{order.ref} is not due yet"
        self.in_hand += reply.orders
        if reply.next is not None:
            self._begun(reply.next, process)

    def _of_earlier_steps(self) -> list[Grant]:
        """The attempts of runs that are open and have gone on to another task since."""
        runs = [(grant, self._record_of(grant)) for grant in self.old]
        return [g for g, r in runs if r and r.get("step", 0) > g.step and r["state"] not in RUN_ENDED]

    def _renewed(self, grant: Grant, process: str, gone: bool) -> None:
        record = self._record_of(grant)
        has_it = record is not None and record["state"] == "running" and record["attempt"] == grant.attempt
        assert gone == (not has_it or self.before[grant.request_id].state == "cancelled")
        if gone:
            self.running.remove((grant, process))
            self.old.append(grant)
        else:
            lease = min(self.world.clock() + 20_000, grant.ends_at + laws.GRACE_MS)
            self.leases[grant.held] = lease

    def _claim(self, shard: str, sweeper: str, heard: bool = True) -> Reply:
        now = self.world.clock()
        if now - self.swept.get(shard, 0) > 2500:
            self.client.delete(f"{shard}:lock")  # it lapses on the server's clock, which the test does not have
        lost = lost_stamps(self.marks, self.workers, now)
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
                    attempt, at_step = record["attempt"], record.get("step", 0)
                    held = Held(
                        request_id=request_id, ref=ref, generation=after.generation, attempt=attempt, step=at_step
                    )
                    assert now >= self.leases[held], f"{ref} was taken away before its lease was over"
                    assert not away, "no lease lapses right after a gap"

    @invariant()
    def laws(self) -> None:
        self.calls += 1
        after = snapshot.take(self.world, self.plans)
        for request_id, request in after.items():
            self._tell(request)
            for _, holds in laws.checks(self.before.get(request_id), request, self.world.clock()):
                holds()
        assert set(self.before) <= set(after)
        self.before = after

    def _tell(self, request: Request) -> None:
        """What is known from outside: who asked to be tried again, what was revoked, whose result was stored."""
        asked = self.asked_again.get(request.request_id, {})
        records = request.records
        request.asked = {
            ref: n for (ref, at), n in asked.items() if ref in records and at == records[ref].get("step", 0)
        }
        request.revoked = self.revoked.get(request.request_id, set())
        request.is_stored = (request.request_id, request.generation) in self.stored

    def _over(self, request: Request) -> bool:
        """Whether a sweep came after the last moment that a request may take, and it has not ended."""
        last = self.swept.get(self.world.ledger.shard_of(request.request_id), 0)
        return bool(last > request.head["finish_at"] + SWEEP_MS)

    def _honest_second(self) -> None:
        self.world.clock.ms += SWEEP_MS * (5 if self.workless else 1)
        self._sweep_all()
        if self.workless:
            return
        for grant in self._of_earlier_steps():
            self._settle(grant, "ok")
        self._start_all("p1")
        for grant, process in self.running:
            self.old.append(grant)
            self._heard(self._settle(grant, "ok"), process)
            self.laws()
        self.running = []

    def _beat(self, idle_s: float | None) -> None:
        """A worker reports itself, and hears how long which are idle: that decides what its sweeper takes for lost."""
        _, self.workers = self.world.ledger.beat("w", queues=[QUEUE], pool="threads", processes=1, idle_s=idle_s)

    def _let_follow(self) -> None:
        """Workers come back, and what follows the ends is done; it has no deadline of its own."""
        self.workless = False
        for _ in range(60):
            if not any(request.still_follows for request in self.before.values()):
                return
            self.world.clock.ms += 3 * SWEEP_MS
            self._beat(31)
            self._honest_second()
        raise AssertionError("something that follows an end is never done")

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
            self._check_offered(request, ref, item)

    def _order(self, request_id: str, ref: str, *, generation: int = 1, delivery: int = 1) -> Order:
        changes = {"generation": generation, "delivery": delivery}
        named = {"name": ref, "task": f"t.{ref}", "queue": QUEUE, "topic": "t", "priority": "normal"}
        return Order(**self.world.order(request_id, ref, **changes) | named)

    @staticmethod
    def _pick(from_: list[Any], pick: int) -> Any:
        return from_[pick % len(from_)]


def _run(plan: Plan, place: int) -> RunPlan:
    times: dict[str, Any] = {"retries": 1 + place % 2, "timeout_ms": 9000 if place % 2 else 90_000}
    return run(plan.names[place], required=plan.required[place], **times | TRAITS[plan.traits[place]])


class _Dies:
    """A ledger's calls, until the client dies."""

    def __init__(self, call: Callable[..., bytes], calls: Any) -> None:
        self._call, self._calls = call, calls

    def __call__(self, *args: Any, **kwargs: Any) -> bytes:
        next(self._calls)
        return self._call(*args, **kwargs)
