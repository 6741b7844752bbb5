"""A ledger with everything around it in the test's hand: time, processes, sweepers, what was published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import msgspec
from redis import Redis

from celery_collectors.ledger import (
    Grant,
    Ledger,
    LinkPlan,
    Order,
    Reply,
    RunPlan,
    Settled,
    StagePlan,
    StepPlan,
    WorkerBeat,
)
from celery_collectors.ledger.reading import Reader
from celery_collectors.ledger.stored import HEAD, head_of, records_of
from celery_collectors.ledger.stores import payload_store
from celery_collectors.model import ErrorInfo, Policy
from celery_collectors.payloads import Value, encode_items, encode_result
from celery_collectors.payloads.codec import Chunk
from celery_collectors.settings import Settings
from celery_collectors.worker.sweeper import idle_stamps
from tests.ledger.stores import write

BEGINNING_MS = 1_800_000_000_000
QUEUE = "q"


class Clock:
    """Time that moves only when told to."""

    def __init__(self) -> None:
        self.ms = BEGINNING_MS

    def __call__(self) -> int:
        return self.ms

    def forward(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


def oops(*, retryable: bool = True) -> ErrorInfo:
    return ErrorInfo(type="Oops", kind="transient", message="oops", retryable=retryable)


def run(name: str, **changes: Any) -> RunPlan:
    plan: dict[str, Any] = {"retries": 0, "timeout_ms": 10_000, "backoff_ms": 1000, "backoff_cap_ms": 4000}
    return RunPlan(**{"name": name, "task": f"t.{name}", "queue": QUEUE} | plan | changes)


def stage(ref: str, **changes: Any) -> StagePlan:
    plan: dict[str, Any] = {"retries": 1, "backoff_ms": 1000, "backoff_cap_ms": 4000}
    return StagePlan(**{"ref": ref, "name": ref, "task": f"t.{ref}", "queue": QUEUE} | plan | changes)


def callback(**changes: Any) -> StagePlan:
    """A chord's callback: a stage whose message is made from a stored call."""
    plan: dict[str, Any] = {"ref": "gathering", "name": "callback", "task": "t.callback", "queue": QUEUE}
    return StagePlan(**plan | {"retries": 0, "backoff_ms": 1000, "backoff_cap_ms": 4000, "call": True} | changes)


def step(name: str, **changes: Any) -> StepPlan:
    return StepPlan(**{"task": f"t.{name}", "queue": QUEUE, "timeout_ms": 10_000} | changes)


def link(kind: str = "link", place: int = 0, **changes: Any) -> LinkPlan:
    ref = f"{kind}:{place}"
    plan = {"ref": ref, "kind": kind, "name": ref, "task": f"t.{kind}", "queue": QUEUE, "timeout_ms": 10_000}
    return LinkPlan(**plan | changes)


class World:
    """One ledger under its own prefix, with hand-fed time."""

    def __init__(self, client: Redis, prefix: str, **changes: Any) -> None:
        self.clock = Clock()
        self.client = client
        self.settings = Settings(**{"prefix": prefix, "shards": 2, "inline_bytes": 64} | changes)
        self.ledger = Ledger(client, self.settings, now_ms=self.clock)
        self.store = payload_store(self.ledger, self.settings, patience_s=1)
        self.reader = Reader(self.ledger, self.store)
        self._numbers = count(1)

    # Clients --------------------------------------------------------------------------------------

    def open(self, *runs: RunPlan | str, stages: Iterable[StagePlan | str] = (), **changes: Any) -> str:
        """Open a request of these runs; return its id."""
        request_id = f"r{next(self._numbers)}"
        self.open_as(request_id, *runs, stages=stages, **changes)
        return request_id

    def open_as(
        self, request_id: str, *runs: RunPlan | str, stages: Iterable[StagePlan | str] = (), **changes: Any
    ) -> bool:
        call: dict[str, Any] = {"topic": "python", "deadline_s": 30, "finish_s": 60, "policy": Policy()}
        return bool(
            self.ledger.open(
                request_id,
                runs=[run(one) if isinstance(one, str) else one for one in runs],
                stages=[stage(one) if isinstance(one, str) else one for one in stages],
                **call | changes,
            )
        )

    def retry(
        self, request_id: str, *refs: str, token: str | None = None, deadline_s: float = 30, finish_s: float = 60
    ) -> list[Order]:
        """Begin the next generation with these runs; return what must be published."""
        generation = int(self.head(request_id)["generation"])
        token = token or f"token-{next(self._numbers)}"
        times = {"deadline_s": deadline_s, "finish_s": finish_s}
        replies = list(self.ledger.retry(request_id, refs, generation=generation, token=token, **times))
        assert all(reply.kept for reply in replies), replies
        return [order for reply in replies for order in reply.orders]

    def reprioritise(self, request_id: str, level: str) -> list[Order]:
        """Give it another level; return what must be published."""
        return [order for reply in self.ledger.reprioritise(request_id, level) for order in reply.orders]

    # Workers --------------------------------------------------------------------------------------

    def order(self, request_id: str, ref: str, **changes: Any) -> dict[str, Any]:
        """The message by which a run or stage is first called for."""
        return {"request_id": request_id, "ref": ref, "generation": 1, "delivery": 1} | changes

    def published(self, request_id: str, *refs: str) -> None:
        self.ledger.published(self.full_order(request_id, ref) for ref in refs)

    def full_order(self, request_id: str, ref: str) -> Order:
        named = {"name": ref, "task": "t", "queue": QUEUE, "topic": "python", "priority": "normal"}
        return Order(**self.order(request_id, ref) | named)

    def start(
        self,
        request_id: str,
        ref: str = "0",
        *,
        process: str = "p1",
        token: str | None = None,
        alone: bool = True,
        **changes: Any,
    ) -> Grant:
        token = token or f"token-{next(self._numbers)}"
        order = self.order(request_id, ref, **changes)
        return self.ledger.start(order, owner=process, worker=process, token=token, alone=alone)

    def start_again(self, order: Order, process: str = "p1") -> Grant:
        """Start what an order calls for."""
        return self.ledger.start(order, owner=process, worker=process, token=f"token-{next(self._numbers)}")

    def succeed(
        self, grant: Grant, items: Sequence[Any] = (), *, in_place: str | None = None, process: str = "p1"
    ) -> Reply:
        """Settle an attempt as ok with these items (by default one that names the attempt)."""
        value = self.value_of(grant, items)
        return self.ledger.settle(
            grant.held,
            "ok",
            value=value.to_bytes(),
            items=value.items,
            size_bytes=value.size,
            run_s=0.001,
            go_on=self.ledger.who(process, "p1", in_place) if in_place else None,
        )

    def value_of(self, grant: Grant, items: Sequence[Any] = ()) -> Value:
        """What an attempt has made, as it is stored: these items, or one that names the attempt."""
        key = self.ledger.key("value", f"{grant.request_id}:{grant.ref}:{grant.attempt}")
        made = items or [label(grant)]
        output = [Chunk(encode_result(made), 1)] if grant.ref == "process" else encode_items(made)
        return write(self.store, key, output)

    def ended(self, grant: Grant, state: str = "ok", *, items: Sequence[Any] = (), retryable: bool = True) -> Settled:
        """How an attempt ended, for those that are settled together."""
        if state == "ok":
            value = self.value_of(grant, items)
            size = {"value": value.to_bytes(), "items": value.items, "size_bytes": value.size}
            return Settled(held=grant.held, state=state, run_s=0.001, **size)
        error = oops(retryable=retryable) if state in {"failed", "timed_out"} else None
        return Settled(held=grant.held, state=state, run_s=0.001, error=error)

    def start_together(
        self, request_id: str, *refs: str, process: str = "p1", token: str | None = None, **changes: Any
    ) -> list[Grant]:
        """Start several runs that one message called for."""
        orders = [self.order(request_id, ref, **changes) for ref in refs]
        token = token or f"token-{next(self._numbers)}"
        return self.ledger.start_together(orders, owner=process, worker=process, token=token)

    def settle_together(self, *ended: Settled, in_place: str | None = None, process: str = "p1") -> Reply:
        """Settle several attempts by one call."""
        go_on = self.ledger.who(process, process, in_place) if in_place else None
        return self.ledger.settle_together(ended, go_on=go_on)

    def fail(self, grant: Grant, state: str = "failed", *, retryable: bool = True) -> Reply:
        return self.ledger.settle(grant.held, state, run_s=0.001, error=oops(retryable=retryable))

    def again(self, grant: Grant, after_s: float, call: bytes = b"") -> Reply:
        """End an attempt as a task does that asks to be tried again."""
        return self.ledger.settle(grant.held, "failed", value=call, error=oops(retryable=False), again_s=after_s)

    def collect(self, request_id: str, *refs: str) -> Reply:
        """Start and answer these runs (or stages), as an honest worker does; return the last reply."""
        return [self.succeed(self.start(request_id, ref)) for ref in refs][-1]

    # Sweepers -------------------------------------------------------------------------------------

    def sweep(self, lost: Mapping[str, float] | None = None, *, sweeper: str = "s") -> list[Order]:
        """Every shard's turn, until nothing more is due; return what must be published."""
        orders: list[Order] = []
        for shard in self.ledger.shards:
            more = True
            while more:
                reply = self.ledger.claim(shard, sweeper=sweeper, lost=lost)
                orders += reply.orders
                more = reply.more
        return orders

    def watch(self, seconds: float, *, every: float = 1.0) -> list[Order]:
        """Let time pass with a sweeper that never rests; return what it handed out."""
        orders = []
        for _ in range(round(seconds / every)):
            self.clock.forward(every)
            orders += self.sweep()
        return orders

    # Looking inside -------------------------------------------------------------------------------

    def state(self, request_id: str) -> str:
        return str(self.ledger.state(request_id))

    def head(self, request_id: str) -> dict[str, str]:
        raw: Any = self.client.hmget(self.ledger.key("request", request_id), HEAD)
        head = head_of(*raw) or {}
        return {name: str(value) for name, value in head.items() if value is not None}

    def change_head(self, request_id: str, **changes: Any) -> None:
        """Let it be as no verb would leave it."""
        key = self.ledger.key("request", request_id)
        now: Any = self.client.hget(key, "now")
        self.client.hset(key, "now", msgspec.msgpack.encode(msgspec.msgpack.decode(now) | changes))

    def record(self, request_id: str, ref: str = "0") -> dict[str, Any]:
        return self.records(request_id)[ref]

    def records(self, request_id: str) -> dict[str, dict[str, Any]]:
        """All of its records, by ref."""
        raw: Any = self.client.hgetall(self.ledger.key("request", request_id))
        head = head_of(raw[b"plan"], raw[b"now"])
        assert head is not None
        return records_of(head, raw)

    def stored(self, kind: str, request_id: str) -> dict[str, bytes]:
        """A request's values or calls, by ref."""
        raw: Any = self.client.hgetall(self.ledger.key(kind, request_id))
        return {ref.decode(): value for ref, value in raw.items()}

    def due(self, request_id: str) -> dict[str, int]:
        """When what of a request is due, by ref (``""`` for the request's own timer), from the beginning."""
        return self._entries("due", request_id)

    def waiting(self, request_id: str, priority: str = "normal") -> dict[str, int]:
        return self._entries(f"waiting:{QUEUE}:{priority}", request_id)

    def _entries(self, kind: str, request_id: str) -> dict[str, int]:
        key = f"{self.ledger.shard_of(request_id)}:{kind}"
        rows: Any = self.client.zrange(key, 0, -1, withscores=True)
        split = [(*raw.decode().partition(" "), int(score)) for raw, score in rows]
        return {ref: score - BEGINNING_MS for found, _, ref, score in split if found == request_id}


def label(grant: Grant) -> str:
    """The item by which a test knows an attempt's output again."""
    return f"{grant.request_id}/{grant.ref}/{grant.attempt}"


def lost_stamps(marks: Mapping[str, float], beats: list[WorkerBeat], now_ms: float) -> dict[str, float]:
    """What a sweeper passes to claim: how far the queues moved, or since when a worker of theirs sat idle."""
    idle = idle_stamps(beats, now_ms, 30)
    return {key: max(marks.get(key, 0), idle.get(key, 0)) for key in {**marks, **idle}}
