"""The ledger against everything that can go wrong at once: random interleavings of every verb.

Around the ledger stand a broker that loses, doubles and reorders messages, clients and workers that
die between any two calls, replies that get lost, sweepers that are away, and time. After every call
the laws of ``laws.py`` must hold, and at the end every request must come to its end.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from celery_collectors.dispatch import PRIORITIES
from celery_collectors.errors import RefusedError
from celery_collectors.ledger import RESULT, Grant, Order, asking
from celery_collectors.ledger.choice import FAILED, choose
from celery_collectors.model import Policy
from tests.ledger.snapshot import Plan, Request
from tests.ledger.surroundings import PROCESSES, TRAITS, Surroundings

STEPS_MS = (1, 300, 1000, 2000, 4000, 4000)
GAPS_MS = (1000, 13_000, 13_000, 21_000, 60_000)
ENDS = ("goes on", "goes on", "goes on", "ok", "failed", "failed", "timed_out", "again", "dies", "dies")
RETRY_TIMES_S = ((5.0, 5.0), (60.0, 60.0), (300.0, 300.0))
ALONG = ("ok", "ok", "ok", "ok", "failed", "queued")
TOGETHER = ("ok", "ok", "empty", "failed", "timed_out", "queued")
STATES = ("ok", "ok", "ok", "empty", "failed", "timed_out", "again", "queued")

chords = st.tuples(
    st.lists(st.sampled_from(("chain", "once", *TRAITS)).filter(bool), min_size=5, max_size=5),
    st.sampled_from(((), ("link",), ("link", "link_error"))),
    st.booleans(),
)
plans = st.builds(
    lambda required, min_ok, first, stages, deadline_s, finish_s, chord: Plan(
        names=tuple(f"c{number}" for number in range(len(required))),
        required=tuple(required),
        policy=Policy(min_ok=min(min_ok, len(required)), first=first and min(first, len(required))),
        stages=tuple(ref for ref in ("gathering", "cleanup", "process") if ref in stages),
        deadline_ms=deadline_s * 1000,
        finish_ms=finish_s * 1000,
        traits=tuple(chord[0][: len(required)]),
        links=chord[1],
        has_result=chord[2],
    ),
    required=st.lists(st.sampled_from((False, False, True)), min_size=1, max_size=5),
    min_ok=st.integers(0, 4),
    first=st.sampled_from((None, None, 1, 2)),
    stages=st.sets(st.sampled_from(("gathering", "cleanup", "process"))),
    deadline_s=st.sampled_from((5, 60, 300, 300)),
    finish_s=st.sampled_from((5, 60, 300)),
    chord=st.just(([""] * 5, (), False)) | chords,
)
NOTHING = {"names": (), "required": (), "traits": (), "policy": Policy(min_ok=0)}
picks = st.integers(0, 1_000_000)


class Faults(Surroundings):
    """One ledger under fire."""

    @initialize(plan=plans, workless=st.booleans())
    def first(self, plan: Plan, workless: bool) -> None:
        self.workless = workless
        self._open("first", plan, chunks=9, publishes=True)

    @precondition(lambda self: len(self.plans) < 3)
    @rule(plan=plans, chunks=st.sampled_from((1, 9, 9)), publishes=st.booleans(),
          changes=st.sampled_from(({}, {}, {}, NOTHING)))  # fmt: skip
    def open(self, plan: Plan, chunks: int, publishes: bool, changes: dict[str, Any]) -> None:
        self._open(f"r{len(self.plans)}", msgspec.structs.replace(plan, **changes), chunks, publishes)

    @rule(pick=picks)
    def open_again(self, pick: int) -> None:
        request_id = self._pick(sorted(self.plans), pick)
        assert self._open(request_id, self.plans[request_id], chunks=9) == (request_id not in self.before)

    @precondition(lambda self: self.calls > 60)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        self.calls = 0
        request_id = self._pick(sorted(self.plans), pick)
        state = self.world.ledger.cancel(request_id).state
        before = self.before.get(request_id)
        assert state == ("unknown" if before is None else before.state if before.ended else "cancelled")

    @precondition(lambda self: self._not_well())
    @rule(pick=picks, names=st.none() | st.sets(st.integers(0, 4), min_size=1), times_s=st.sampled_from(RETRY_TIMES_S),
          reply=st.sampled_from(("heard", "heard", "lost", "asked again")))  # fmt: skip
    def retry(self, pick: int, names: set[int] | None, times_s: tuple[float, float], reply: str) -> None:
        before = self._pick(self._not_well(), pick)
        only = FAILED if names is None else [n for place, n in enumerate(before.plan.names) if place in names]
        try:
            refs = choose(self.world.reader.ended(before.request_id), only, force=True).refs
        except RefusedError:
            return
        self._retry(before, refs, times_s, reply)

    @precondition(lambda self: any(request.generation > 1 for request in self.before.values()))
    @rule(pick=picks)
    def retry_what_was_retried(self, pick: int) -> None:
        late = self._pick([one for one in self.before.values() if one.generation > 1], pick)
        (reply,) = self.world.ledger.retry(
            late.request_id, ["0"], generation=late.generation - 1, token="late", deadline_s=9, finish_s=9
        )
        assert (reply.kept, reply.generation) == (False, late.generation)

    @precondition(lambda self: self.before)
    @rule(pick=picks, level=st.sampled_from(PRIORITIES), heard=st.booleans())
    def reprioritise(self, pick: int, level: str, heard: bool) -> None:
        before = self._pick([self.before[one] for one in sorted(self.before)], pick)
        for reply in self.world.ledger.reprioritise(before.request_id, level):
            assert reply.kept == (not before.ended)
            if heard:
                self._heard(reply, "p1")
            self.laws()

    @rule(pick=picks, ends=st.lists(st.sampled_from(ENDS), min_size=1, max_size=4),
          faults=st.sets(st.sampled_from(("doubled", "reply lost"))))  # fmt: skip
    def good_moment(self, pick: int, ends: list[str], faults: set[str]) -> None:
        """Everything is published, confirmed and started, and some of it ends."""
        messages = [order for order in self.broker + self.in_hand if order.ref != RESULT]
        copies = messages[-4:] if faults & {"doubled"} else []
        self._start_all(PROCESSES[pick % 3], replies_lost="reply lost" in faults)
        self.broker += copies
        working, self.running = self.running, []
        for place, (grant, process) in enumerate(working):
            end = ends[place % len(ends)]
            if end == "goes on":
                self.running.append((grant, process))
            elif end == "dies":
                self.old.append(grant)
                self._died(grant, process)
            else:
                self.old.append(grant)
                self._heard(self._settle(grant, end), process)
                self.laws()

    @precondition(lambda self: self.in_hand)
    @rule(pick=picks, copies=st.sampled_from((0, 1, 1, 1, 2)), confirms=st.booleans())
    def publish(self, pick: int, copies: int, confirms: bool) -> None:
        order = self.in_hand.pop(pick % len(self.in_hand))
        self.broker += [order] * (copies if order.ref != RESULT else 0)
        if confirms:
            self._confirm(order)
        else:
            self.unconfirmed.append(order)

    @precondition(lambda self: self.unconfirmed)
    @rule(pick=picks)
    def confirm_late(self, pick: int) -> None:
        self._confirm(self._pick(self.unconfirmed, pick))

    @precondition(lambda self: self.broker)
    @rule(pick=picks, redelivered=st.booleans(), lost_reply=st.sampled_from((False, False, True)))
    def deliver(self, pick: int, redelivered: bool, lost_reply: bool) -> None:
        at = pick % len(self.broker)
        order = self.broker[at] if redelivered else self.broker.pop(at)
        self._start(order, PROCESSES[pick % 3], f"token-{next(self.tokens)}", lost_reply)

    @rule(pick=picks, generation=st.sampled_from((0, 1, 2)), delivery=st.sampled_from((0, 3)))
    def deliver_stale(self, pick: int, generation: int, delivery: int) -> None:
        request_id = self._pick(sorted(self.plans), pick)
        order = self._order(request_id, "0", generation=generation, delivery=delivery)
        self._start(order, "p1", f"token-{next(self.tokens)}", False)

    @precondition(lambda self: self.asked)
    @rule(pick=picks)
    def ask_again(self, pick: int) -> None:
        self._start(*self._pick(self.asked, pick), False)

    @precondition(lambda self: self.running)
    @rule(pick=picks, state=st.sampled_from(STATES),
          retryable=st.booleans(), in_place=st.booleans(), reply_lost=st.booleans())  # fmt: skip
    def settle(self, pick: int, state: str, retryable: bool, in_place: bool, reply_lost: bool) -> None:
        grant, process = self.running.pop(pick % len(self.running))
        self.old.append(grant)
        reply = self._settle(grant, state, retryable=retryable, process=process if in_place else None)
        if not reply_lost:
            self._heard(reply, process)

    @precondition(lambda self: self.broker)
    @rule(pick=picks, kept=st.booleans(), lost_reply=st.sampled_from((False, False, True)))
    def deliver_together(self, pick: int, kept: bool, lost_reply: bool) -> None:
        """Runs of one request that one message called for."""
        first = self._pick(self.broker, pick)
        orders = [order for order in self.broker if order.ref.isdigit() and self._rides_with(order, first)]
        if not kept:
            self.broker = [order for order in self.broker if order not in orders]
        if orders:
            self._start_together(orders, PROCESSES[pick % 3], lost_reply)

    @precondition(lambda self: self.running)
    @rule(pick=picks, states=st.lists(st.sampled_from(TOGETHER), min_size=5, max_size=5), late=st.booleans())
    def settle_together(self, pick: int, states: list[str], late: bool) -> None:
        first, process = self._pick(self.running, pick)
        known = self.running + [(grant, process) for grant in self.old * late]
        mine = [grant for grant, owner in known if owner == process and grant.request_id == first.request_id]
        runs = list({grant.ref: grant for grant in mine if grant.ref.isdigit()}.values())[:5]
        if runs:
            self.running = [(grant, owner) for grant, owner in self.running if grant not in runs]
            self.old += runs
            self._heard(self._settle_together(runs, states[: len(runs)], process), process)

    @precondition(lambda self: self._with_more())
    @rule(pick=picks, states=st.lists(st.sampled_from(ALONG), min_size=3, max_size=3))
    def settle_stages_together(self, pick: int, states: list[str]) -> None:
        """Those that a process has run in one go; its lease may have lapsed meanwhile."""
        first, process = self._pick(self._with_more(), pick)
        grants = [first]
        for then in first.then:
            grants.append(grants[-1].along(then, ()))
        self.running = [(grant, owner) for grant, owner in self.running if grant != first]
        self.old += grants
        self._heard(self._settle_together(grants, states[: len(grants)], process), process)

    @precondition(lambda self: self.old)
    @rule(pick=picks, state=st.sampled_from(("ok", "empty", "failed", "again", "queued")), retryable=st.booleans())
    def settle_again(self, pick: int, state: str, retryable: bool) -> None:
        grant = self._pick(self.old, pick)
        self._heard(self._settle(grant, state, retryable=retryable), "p1")

    @precondition(lambda self: self._of_earlier_steps())
    @rule(pick=picks, state=st.sampled_from(("ok", "ok", "failed")))
    def settle_an_earlier_step(self, pick: int, state: str) -> None:
        self._heard(self._settle(self._pick(self._of_earlier_steps(), pick), state), "p1")

    @rule(process=st.sampled_from(PROCESSES))
    def renew(self, process: str) -> None:
        held = [grant.held for grant, owner in self.running if owner == process]
        gone = {one for one, _ in self.world.ledger.renew(process, held)}
        for grant, owner in list(self.running):
            if owner == process:
                self._renewed(grant, owner, grant.held in gone)

    @rule(process=st.sampled_from(PROCESSES), seen=st.booleans())
    def crash(self, process: str, seen: bool) -> None:
        dead = [grant for grant, owner in self.running if owner == process]
        self.running = [(grant, owner) for grant, owner in self.running if owner != process]
        self.old += dead
        for grant in dead if seen else ():
            self._died(grant, process)

    @precondition(lambda self: self.calls > 40 and self.running and not self.revoked)
    @rule(pick=picks, seen_by_pool=st.booleans())
    def revoke(self, pick: int, seen_by_pool: bool) -> None:
        grant, process = self.running.pop(pick % len(self.running))
        self.old.append(grant)
        self._revoke(grant, process if seen_by_pool else None)

    @rule(pick=picks, heard=st.sampled_from((True, True, False)))
    def claim(self, pick: int, heard: bool) -> None:
        self._claim(self.world.ledger.shards[pick % 2], f"s{pick % 3}", heard)

    @rule(pick=picks)
    def let_the_timer_act(self, pick: int) -> None:
        self._heard(self.world.ledger.end_if_over(self._pick(sorted(self.plans), pick)), "p1")

    @rule(idle_s=st.sampled_from((None, 5.0, 31.0)))
    def beat(self, idle_s: float | None) -> None:
        self._beat(idle_s)

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

    def _with_more(self) -> list[tuple[Grant, str]]:
        """Grants of stages with which others may be run along, now or earlier."""
        return [one for one in [*self.running, *((grant, "p1") for grant in self.old)] if one[0].then]

    def _not_well(self) -> list[Request]:
        found = [self.before[one] for one in sorted(self.before)]
        return [one for one in found if one.state in {"partial", "failed"} and one.generation < 3]

    @staticmethod
    def _rides_with(order: Order, first: Order) -> bool:
        shared = ("request_id", "generation", "delivery", "stamp")
        return all(getattr(order, name) == getattr(first, name) for name in shared)

    def _retry(self, before: Request, refs: list[str], times_s: tuple[float, float], reply: str) -> None:
        token = f"token-{next(self.tokens)}"
        for _ in range(2 if reply == "asked again" else 1):
            answers = self.world.ledger.retry(
                before.request_id,
                refs,
                generation=before.generation,
                token=token,
                deadline_s=times_s[0],
                finish_s=times_s[1],
            )
            for answer in answers:
                assert answer.kept == (before.still_follows <= {RESULT})
                if reply == "heard":
                    self._heard(answer, "p1")
                self.laws()

    def teardown(self) -> None:
        """No more faults: everything comes to its end in time, and nothing is left over."""
        while any(not request.ended for request in self.before.values()):
            late = [r for r in self.before.values() if not r.ended and self._over(r)]
            assert not late, f"{late} should have ended by now"
            self._honest_second()
        self._let_follow()
        for _ in range(2):
            self._sweep_all()
        self.laws()
        for request_id, request in self.before.items():
            assert (request.due, request.waiting) == ({}, {})
            assert all(ttl > 0 or ttl == -2 for ttl in request.ttls)
            self._check_report(request_id, request)


def machine(client: Redis, prefix: str) -> type[Faults]:
    """The machine, bound to a server; every run of it gets a ledger of its own."""
    numbers = count(1)
    names = {"client": client, "prefixes": staticmethod(lambda: f"{prefix}.{next(numbers)}")}
    return type("BoundFaults", (Faults,), names)


def test_the_laws_hold_whatever_happens(ledger_client: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "OPEN_AT_ONCE", 2)
    run_state_machine_as_test(
        machine(ledger_client, prefix), settings=settings(max_examples=40, stateful_step_count=50)
    )
