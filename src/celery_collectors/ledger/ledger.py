"""The ledger's verbs in Python: each is one atomic script on one shard."""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from celery_collectors.errors import LedgerMismatchError, LedgerUnavailable
from celery_collectors.ledger.records import (
    Grant,
    Held,
    LinkPlan,
    Opened,
    Order,
    Reply,
    RunPlan,
    StagePlan,
    WorkerBeat,
)
from celery_collectors.ledger.scripts import AWAY, Scripts, unavailable
from celery_collectors.model import ErrorInfo, Policy, RequestState
from celery_collectors.settings import Settings, public_url, redis_url

T = TypeVar("T")
SCHEMA = 1
OPEN_AT_ONCE = 500
RECORD_AT_ONCE = 250
UNSEALED_TTL_MS = 3_600_000
GRACE_MS = 2000  # a worker settles its own time-outs; the lease waits this much longer for it
RETRY_CAP_S = 1.0


def connect(url: str, *, patience_s: float) -> Redis:
    """A redis-py client that tries again for about ``patience_s`` seconds before it gives up."""
    attempts = max(1, int(patience_s / RETRY_CAP_S) + 4)
    return Redis.from_url(
        redis_url(url),
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=RETRY_CAP_S), attempts),
        retry_on_error=[RedisConnectionError, RedisTimeoutError, BusyLoadingError],
        socket_timeout=15,
        socket_connect_timeout=3,
        health_check_interval=30,
    )


class Ledger:
    """The one record of every request.

    Args:
        client: A redis-py client that returns bytes (see :func:`connect`).
        settings: Times, caps and the key prefix.
        where: The URL for messages to people, without a password.
        now_ms: For tests: supplies the time instead of the server's clock.

    Every verb raises :class:`~celery_collectors.errors.LedgerUnavailable` when the server is away.
    """

    def __init__(
        self,
        client: Redis,
        settings: Settings,
        *,
        where: str = "redis",
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.client = client
        self.where = where
        self._settings = settings
        self._now_ms = now_ms
        self._scripts = Scripts(client, where)
        self._shards: int | None = None

    @classmethod
    def from_url(cls, url: str, settings: Settings | None = None, *, patience_s: float = 3.0) -> Ledger:
        """A ledger on the Redis or Valkey at ``url``."""
        client = connect(url, patience_s=patience_s)
        return cls(client, settings or Settings.load(), where=public_url(url))

    # Shards ---------------------------------------------------------------------------------------

    @property
    def shards(self) -> tuple[str, ...]:
        """Every shard's key prefix; the first use fixes their number in the ledger, or checks it."""
        if self._shards is None:
            self._shards = self._found()
        return tuple(f"{self._settings.prefix}:{{{number}}}" for number in range(self._shards))

    def _found(self) -> int:
        wanted = {"shards": self._settings.shards, "schema": SCHEMA}
        found = msgspec.json.decode(self._call("found", self.fleet, wanted))
        if found != wanted:
            raise LedgerMismatchError(
                f"the ledger at {self.where} was made with {found}, this program is set to {wanted}; set "
                f"COLLECTORS_SHARDS={found['shards']}, or use another COLLECTORS_PREFIX for a ledger of its own"
            )
        return int(found["shards"])

    @property
    def fleet(self) -> str:
        """The key prefix of what belongs to no request: the workers, the ledger's own facts."""
        return f"{self._settings.prefix}:{{fleet}}"

    def shard_of(self, text: str) -> str:
        """The shard of a request id (or of an idempotency key)."""
        shards = self.shards
        return shards[zlib.crc32(text.encode()) % len(shards)]

    def key(self, kind: str, request_id: str) -> str:
        """The key that holds one kind of a request's data."""
        return f"{self.shard_of(request_id)}:{kind}:{request_id}"

    # Clients --------------------------------------------------------------------------------------

    def reserve(self, key: str, request_id: str) -> str:
        """Give an idempotency key to a request id, and return the id that has it."""
        arguments = {"key": key, "request_id": request_id, "ttl_ms": self._ttl_ms}
        reply = msgspec.json.decode(self._call("reserve", self.shard_of(key), arguments))
        return str(reply["request_id"])

    def open(
        self,
        request_id: str,
        *,
        topic: str,
        runs: Sequence[RunPlan],
        stages: Sequence[StagePlan] = (),
        policy: Policy | None = None,
        deadline_s: float,
        finish_s: float,
        messages: str = "auto",
        priority: str = "normal",
        calls: Mapping[str, str] | None = None,
        links: Sequence[LinkPlan] = (),
        result_id: str | None = None,
    ) -> Opened:
        """Write a request and its runs; it lives once the last chunk is sealed.

        Args:
            request_id: A UUID.
            topic, runs, stages, policy, deadline_s, finish_s, messages, priority: What it consists of.
            calls: Of a chord, by ref: what the messages of its members, its callback and its links are made from.
            links: What is called after its end.
            result_id: The task id under which Celery's result backend is to hold its result.

        Returns:
            Whether it was opened: if a request of this id is there already, that is left as it is.
        """
        policy = policy or Policy()
        head = {
            "topic": topic,
            "runs": len(runs),
            "stages": msgspec.json.encode(stages).decode(),
            "min_ok": policy.min_ok,
            "required_open": sum(run.required for run in runs),
            "messages": messages,
            "priority": priority,
            "ttl_ms": self._ttl_ms,
            "deadline_ms": int(deadline_s * 1000),
            "finish_ms": int(finish_s * 1000),
        }
        if policy.first is not None:
            head["first"] = policy.first
        if links:
            head["links"] = msgspec.json.encode(links).decode()
        if result_id is not None:
            head["result_id"] = result_id
        opened = Opened()
        for start in range(0, max(1, len(runs)), OPEN_AT_ONCE):
            chunk = runs[start : start + OPEN_AT_ONCE]
            last = start + OPEN_AT_ONCE >= len(runs)
            arguments = {
                "request_id": request_id,
                "head": head,
                "from": start,
                "runs": chunk,
                "calls": _calls_of(calls or {}, start, len(chunk), last),
                "seal": last,
                "unsealed_ttl_ms": UNSEALED_TTL_MS,
            }
            opened = self._reply("open", request_id, arguments, Opened)
        return opened

    def cancel(self, request_id: str, *, reason: str | None = None, by: str | None = None) -> Reply:
        """End a request; the reply's state is that which it is in now (``unknown`` if there is none)."""
        arguments: dict[str, Any] = {"request_id": request_id}
        arguments |= {k: v for k, v in {"reason": reason, "by": by}.items() if v}
        return self._reply("cancel", request_id, arguments, Reply)

    def forget(self, request_id: str) -> bool:
        """Remove a finished request before its time is over; ``False`` if it is not finished."""
        reply = msgspec.json.decode(self._call("forget", self.shard_of(request_id), {"request_id": request_id}))
        return bool(reply["forgotten"])

    # Workers --------------------------------------------------------------------------------------

    def start(self, order: Mapping[str, Any] | Order, *, owner: str, worker: str, token: str) -> Grant:
        """Ask for a run or stage: go with a lease, or not with the reason.

        Args:
            order: At least ``request_id``, ``ref``, ``generation`` and ``delivery``; ``stamp`` if it came with one.
            owner: Names this process; a lease is its hold.
            worker: Names the worker for people.
            token: Unique to this call, so that asking again after a lost reply gives the same answer.
        """
        fields = msgspec.structs.asdict(order) if isinstance(order, Order) else order
        named = _named(fields)
        arguments = named | self.who(owner, worker, token)
        return self._reply("start", named["request_id"], arguments, Grant)

    def who(self, owner: str, worker: str, token: str) -> dict[str, Any]:
        """The arguments that give a lease to a process."""
        return {
            "owner": owner,
            "worker": worker,
            "token": token,
            "lease_ms": int(self._settings.lease_s * 1000),
            "grace_ms": GRACE_MS,
            "short_ms": self._settings.short_s * 1000,
        }

    def settle(
        self,
        held: Held,
        state: str,
        *,
        value: bytes = b"",
        items: int = 0,
        size_bytes: int = 0,
        run_s: float = 0.0,
        error: ErrorInfo | None = None,
        again_s: float | None = None,
        go_on: Mapping[str, Any] | None = None,
    ) -> Reply:
        """End an attempt of a run, or of a stage (then it is the verb *advance*).

        Args:
            held: Which attempt.
            state: ``ok``, ``empty``, ``failed``, ``timed_out``; or ``queued`` to hand it back untouched.
            value: What stands in the ledger for the output.
            items, size_bytes: How many items, and their encoded size.
            run_s: How long the attempt took.
            error: What went wrong.
            again_s: The pause after which the code itself asked to be tried again; ``value`` may then be a new call.
            go_on: From :meth:`who`, if this process could go on with a short stage in place.
        """
        arguments: dict[str, Any] = msgspec.structs.asdict(held) | {
            "state": state,
            "items": items,
            "bytes": size_bytes,
            "run_ms": run_s * 1000,
            "jitter": random.random(),
        }
        if error is not None:
            arguments["error"] = _compact(error)
        if again_s is not None:
            arguments["again_ms"] = max(0, int(again_s * 1000))
        if go_on is not None:
            arguments["who"] = go_on
        verb = "settle" if held.ref.isdigit() else "advance"
        return self._reply(verb, held.request_id, arguments, Reply, value)

    def renew(self, owner: str, held: Iterable[Held]) -> list[tuple[Held, str]]:
        """Renew leases; return those that the process should no longer run, with the reason.

        Every shard hears of it, so that one where the process seems to hold nothing knows that it lives: a lease
        whose reply was lost is no crash.
        """
        by_shard: dict[str, list[Held]] = {shard: [] for shard in self.shards}
        for one in held:
            by_shard[self.shard_of(one.request_id)].append(one)
        gone = []
        for shard, group in by_shard.items():
            arguments = {
                "owner": owner,
                "held": group,
                "lease_ms": int(self._settings.lease_s * 1000),
                "grace_ms": GRACE_MS,
            }
            reply = msgspec.json.decode(self._call("renew", shard, arguments))
            gone += [(group[index], reason) for index, reason in reply.get("gone", ())]
        return gone

    def died(
        self,
        order: Mapping[str, Any],
        process: str | None,
        ended: str | None = None,
        error: ErrorInfo | None = None,
    ) -> Reply:
        """Take a run or stage away from a process that can't settle it any more.

        Args:
            order: Which, as its message named it.
            process: Whose it is; ``None`` if it was still waiting.
            ended: How it ended, if it is not to be tried again.
            error: Why, then.
        """
        arguments = _named(order) | {"jitter": random.random(), "crash_cap": self._settings.crash_cap}
        if process is not None:
            arguments["process"] = process
        if ended is not None and error is not None:
            arguments |= {"ended": ended, "error": _compact(error)}
        return self._reply("died", order["request_id"], arguments, Reply)

    def published(self, orders: Iterable[Order]) -> None:
        """Record that the broker has confirmed these messages."""
        by_shard: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for order in orders:
            by_shard[self.shard_of(order.request_id)].append(_named(msgspec.structs.asdict(order)))
        for shard, group in by_shard.items():
            for start in range(0, len(group), RECORD_AT_ONCE):
                self._call("published", shard, {"orders": group[start : start + RECORD_AT_ONCE]})

    # Sweepers and waiters -------------------------------------------------------------------------

    def claim(self, shard: str, *, sweeper: str, lost: Mapping[str, float] | None = None) -> Reply:
        """Do what is due on a shard; return what must be published now.

        Args:
            shard: One of :attr:`shards`.
            sweeper: Names this process; another's turn makes the reply ``busy``.
            lost: Per ``queue:priority``, up to which publication stamp waiting runs count as lost.
        """
        arguments = self._claim_arguments() | {
            "sweeper": sweeper,
            "lock_ms": int(self._settings.sweep_s * 2500),
        }
        if lost:
            arguments["lost"] = dict(lost)
        return msgspec.json.decode(self._call("claim", shard, arguments), type=Reply)

    def end_if_over(self, request_id: str) -> Reply:
        """Let a request's own timer act, for whoever waits while no sweeper is alive."""
        arguments = self._claim_arguments() | {"only": request_id}
        return self._reply("claim", request_id, arguments, Reply)

    def _claim_arguments(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "limit": 100,
            "lease_ms": int(settings.lease_s * 1000),
            "crash_cap": settings.crash_cap,
            "jitter": random.random(),
            "gap_ms": int(max(settings.sweep_s * 5, settings.renew_s) * 1000),
            "silent_ms": int(settings.renew_s * 2500),
            "backlog_ms": int(settings.backlog_s * 1000),
            "listing_ttl_ms": self._ttl_ms,
        }

    def beat(
        self,
        worker: str,
        *,
        queues: Sequence[str],
        pool: str,
        processes: int,
        idle_s: float | None,
        clock_off_ms: float | None = None,
    ) -> tuple[float, list[WorkerBeat]]:
        """Report this worker; return the ledger's time in milliseconds and every worker that is there."""
        arguments: dict[str, Any] = {
            "worker": worker,
            "queues": list(queues),
            "pool": pool,
            "processes": processes,
            "forget_ms": int(self._settings.backlog_s * 1000),
        }
        if idle_s is not None:
            arguments["idle_ms"] = int(idle_s * 1000)
        if clock_off_ms is not None:
            arguments["clock_off_ms"] = round(clock_off_ms)
        reply = msgspec.json.decode(self._call("beat", self.fleet, arguments))
        return reply["now_ms"], msgspec.convert(reply["workers"], list[WorkerBeat])

    def leave(self, worker: str) -> None:
        """Report that this worker stops in good order."""
        self._call("leave", self.fleet, {"worker": worker})

    # Reading --------------------------------------------------------------------------------------

    def call_of(self, held: Held) -> str:
        """The stored call of a run, stage or link."""
        with self.answering() as client:
            found: Any = client.hget(self.key("calls", held.request_id), held.ref)
        return str(found.decode())

    def state(self, request_id: str) -> RequestState:
        """A request's state; ``unknown`` when the ledger does not hold it."""
        with self.answering() as client:
            found: Any = client.hget(self.key("request", request_id), "state")
        return RequestState(found.decode()) if found else RequestState.UNKNOWN

    # Calls ----------------------------------------------------------------------------------------

    @property
    def _ttl_ms(self) -> int:
        return int(self._settings.result_ttl_s * 1000)

    def _reply(self, name: str, request_id: str, arguments: Mapping[str, Any], type_: type[T], value: bytes = b"") -> T:
        return msgspec.json.decode(self._call(name, self.shard_of(request_id), arguments, value), type=type_)

    def _call(self, name: str, prefix: str, arguments: Mapping[str, Any], value: bytes = b"") -> bytes:
        if self._now_ms is not None:
            arguments = {**arguments, "now": self._now_ms()}
        return self._scripts.call(name, prefix, arguments, value)

    @contextmanager
    def answering(self) -> Iterator[Redis]:
        """The client for plain reads, with its errors said in our words."""
        try:
            yield self.client
        except AWAY as error:
            raise LedgerUnavailable(unavailable(self.where, error)) from error


def _named(order: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: order[name] for name in ("request_id", "ref", "generation", "delivery")}
    return named | ({"stamp": order["stamp"]} if order.get("stamp") else {})


def _calls_of(calls: Mapping[str, str], start: int, count: int, last: bool) -> dict[str, str]:
    """The calls that go with a chunk of runs; those that are no run's go with the last."""
    some = {ref: calls[ref] for ref in map(str, range(start, start + count)) if ref in calls}
    return some | ({ref: call for ref, call in calls.items() if not ref.isdigit()} if last else {})


def _compact(error: ErrorInfo) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(error).items() if value is not None}
