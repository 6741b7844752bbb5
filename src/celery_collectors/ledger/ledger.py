"""The ledger's verbs in Python: each is one atomic script on one shard."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from celery_collectors.ledger.asking import Asking
from celery_collectors.ledger.records import Grant, Held, Order, Reply, Settled, Verdict, WorkerBeat
from celery_collectors.ledger.stored import HEAD, head_of
from celery_collectors.ledger.storing import Storing
from celery_collectors.model import ErrorInfo, RequestState

RECORD_AT_ONCE = 250
GRACE_MS = 2000  # a worker settles its own time-outs; the lease waits this much longer for it


class Ledger(Asking, Storing):
    """The one record of every request.

    Args:
        client: A redis-py client that returns bytes (see :func:`~celery_collectors.ledger.shards.connect`).
        settings: Times, caps and the key prefix.
        where: The URL for messages to people, without a password.
        now_ms: For tests: supplies the time instead of the server's clock.

    Every verb raises :class:`~celery_collectors.errors.LedgerUnavailable` when the server is away.
    """

    # Workers --------------------------------------------------------------------------------------

    def start(
        self, order: Mapping[str, Any] | Order, *, owner: str, worker: str, token: str, alone: bool = True
    ) -> Grant:
        """Ask for a run or stage: go with a lease, or not with the reason.

        Args:
            order: At least ``request_id``, ``ref``, ``generation`` and ``delivery``; ``stamp`` if it came with one.
            owner: Names this process; a lease is its hold.
            worker: Names the worker for people.
            token: Unique to this call, so that asking again after a lost reply gives the same answer.
            alone: Whether this process has nothing that goes alone. What the next crash would end does; with another
                such one beside it, it is refused, and called for again a little later.
        """
        text, given = self._start([order], owner, worker, token, alone=alone)
        return msgspec.structs.replace(msgspec.msgpack.decode(text, type=Grant), given=given)

    def start_together(
        self, orders: Sequence[Mapping[str, Any] | Order], *, owner: str, worker: str, token: str
    ) -> list[Grant]:
        """Ask for several runs of one request, all called for by one message, as :meth:`start` asks for each.

        What goes alone is called for again by a message of its own.

        Args:
            orders: Which; all of one generation, delivery and stamp.
            owner, worker, token: As for :meth:`start`; one token for all.

        Returns:
            The grants, in the order asked.
        """
        text, given = self._start(orders, owner, worker, token, alone=False)
        if len(orders) == 1:
            return [msgspec.structs.replace(msgspec.msgpack.decode(text, type=Grant), given=given)]
        shared = msgspec.msgpack.decode(text)
        each = shared.pop("each")
        return [msgspec.convert(shared | one, Grant) for one in each]

    def _start(
        self, orders: Sequence[Mapping[str, Any] | Order], owner: str, worker: str, token: str, *, alone: bool
    ) -> tuple[bytes, tuple[bytes | None, ...]]:
        arguments = _together(orders) | self.who(owner, worker, token)
        arguments |= {"alone": alone, "crash_cap": self._settings.crash_cap}
        return self._granted("start", arguments["request_id"], arguments)

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
        ended = Settled(
            held=held,
            state=state,
            value=value,
            items=items,
            size_bytes=size_bytes,
            run_s=run_s,
            error=error,
            again_s=again_s,
        )
        return self._settle([ended], go_on)

    def settle_together(self, ended: Sequence[Settled], *, go_on: Mapping[str, Any] | None = None) -> Reply:
        """End several attempts of one request, as :meth:`settle` ends each: runs, or stages in their order.

        Args:
            ended: How each ended. After the first stage those that its grant named as ``then``: each is begun here,
                as attempt 1, and ended at once; if another has begun it meanwhile, or it may not begin any more, it
                is late, and so is all that was made from it.
            go_on: From :meth:`who`; needed for several stages, which are begun with it.
        """
        of_one = {one.held.request_id for one in ended}
        if len(of_one) != 1 or len({one.held.ref.isdigit() for one in ended}) != 1:
            raise ValueError("only runs, or only stages, of one request are settled together")
        if len(ended) > 1 and go_on is None and not ended[0].held.ref.isdigit():
            raise ValueError("several stages are settled together by the process that has run them: say who goes on")
        reply = self._settle(ended, go_on)
        if reply.each:
            return reply
        verdict = Verdict(
            ref=ended[0].held.ref, kept=reply.kept, reason=reply.reason, state=reply.state, delay_ms=reply.delay_ms
        )
        return msgspec.structs.replace(reply, each=[verdict])

    def _settle(self, ended: Sequence[Settled], go_on: Mapping[str, Any] | None) -> Reply:
        first = ended[0].held
        arguments: dict[str, Any] = {"request_id": first.request_id, "ended": [_ended(one) for one in ended]}
        if go_on is not None:
            arguments["who"] = go_on
        verb = "settle" if first.ref.isdigit() else "advance"
        text, given = self._granted(verb, first.request_id, arguments, [one.value for one in ended])
        reply = msgspec.msgpack.decode(text, type=Reply)
        if reply.next is None:
            return reply
        return msgspec.structs.replace(reply, next=msgspec.structs.replace(reply.next, given=given))

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
            reply = msgspec.msgpack.decode(self._call("renew", shard, arguments))
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
        return self.died_together([order], process, ended, error)

    def died_together(
        self,
        orders: Sequence[Mapping[str, Any]],
        process: str | None,
        ended: str | None = None,
        error: ErrorInfo | None = None,
    ) -> Reply:
        """Take several runs of one request, all called for by one message, away as :meth:`died` does each.

        The reply is ``kept`` if there was one to take away.
        """
        arguments = _together(orders) | {"jitter": random.random(), "crash_cap": self._settings.crash_cap}
        if process is not None:
            arguments["process"] = process
        if ended is not None and error is not None:
            arguments |= {"ended": ended, "error": _compact(error)}
        return self._reply("died", arguments["request_id"], arguments, Reply)

    def unregistered(self, order: Mapping[str, Any], worker: str) -> Reply:
        """Have a run come again that a worker was given and has no code for.

        Args:
            order: Which, as its message named it.
            worker: The worker, for the error if none knows it.
        """
        return self._reply("unregistered", order["request_id"], _named(order) | {"worker": worker}, Reply)

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
        return msgspec.msgpack.decode(self._call("claim", shard, arguments), type=Reply)

    def to_sweep(self, sweeper: str) -> tuple[Sequence[str], float]:
        """The shards to sweep now, all or none, and for how many seconds that can't change.

        Whoever has the first shard's turn takes that of each other one, too, as soon as it is free. To look costs the
        server a fiftieth of what it costs to be told by :meth:`claim` that it is another's.
        """
        with self.answering() as client:
            looking = client.pipeline(transaction=False)
            looking.get(f"{self.shards[0]}:lock")
            looking.pttl(f"{self.shards[0]}:lock")
            holder, left_ms = looking.execute()
        return (self.shards, 0) if holder in (None, sweeper.encode()) else ((), max(0, left_ms) / 1000)

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
        version: str = "",
        everyone: bool = True,
    ) -> tuple[float, list[WorkerBeat]]:
        """Report this worker; return the ledger's time in milliseconds and, if asked, every worker that is there."""
        arguments: dict[str, Any] = {
            "worker": worker,
            "queues": list(queues),
            "pool": pool,
            "processes": processes,
            "version": version,
        }
        if everyone:
            arguments |= {"everyone": True, "forget_ms": int(self._settings.backlog_s * 1000)}
        if idle_s is not None:
            arguments["idle_ms"] = int(idle_s * 1000)
        if clock_off_ms is not None:
            arguments["clock_off_ms"] = round(clock_off_ms)
        reply = msgspec.msgpack.decode(self._call("beat", self.fleet, arguments))
        return reply["now_ms"], msgspec.convert(reply.get("workers", ()), list[WorkerBeat])

    def leave(self, worker: str) -> None:
        """Report that this worker stops in good order."""
        self._call("leave", self.fleet, {"worker": worker})

    # Reading --------------------------------------------------------------------------------------

    def call_of(self, held: Held) -> str:
        """The stored call of a run, stage or link."""
        with self.answering() as client:
            found: Any = client.hget(self.key("calls", held.request_id), held.ref)
        return str(found.decode())

    def run_times(self) -> list[dict[str, float]]:
        """How long runs and stages have taken lately, as each shard knows it: ms, a moving average by task."""
        with self.answering() as client:
            asking = client.pipeline(transaction=False)
            for shard in self.shards:
                asking.hgetall(f"{shard}:times")
            found = asking.execute()
        return [{task.decode(): float(run_ms) for task, run_ms in known.items()} for known in found]

    def state(self, request_id: str) -> RequestState:
        """A request's state; ``unknown`` when the ledger does not hold it."""
        with self.answering() as client:
            found: Any = client.hmget(self.key("request", request_id), HEAD)
        head = head_of(*found)
        return RequestState(head["state"]) if head else RequestState.UNKNOWN

    def generation(self, request_id: str) -> int:
        """Which life of a request this is, from 1; 0 when the ledger does not hold it."""
        with self.answering() as client:
            found: Any = client.hmget(self.key("request", request_id), HEAD)
        head = head_of(*found)
        return int(head["generation"]) if head else 0

    def last_event_id(self, request_id: str) -> str:
        """The id of a request's newest event; that before all events if there is none."""
        with self.answering() as client:
            found: Any = client.xrevrange(self.key("events", request_id), count=1)
        return str(found[0][0].decode()) if found else "0-0"


def _named(order: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: order[name] for name in ("request_id", "ref", "generation", "delivery")}
    return named | ({"stamp": order["stamp"]} if order.get("stamp") else {})


def _together(orders: Sequence[Mapping[str, Any] | Order]) -> dict[str, Any]:
    """What all of these name, and their refs."""
    named = [_named(msgspec.structs.asdict(one) if isinstance(one, Order) else one) for one in orders]
    refs = [one.pop("ref") for one in named]
    if any(one != named[0] for one in named):
        raise ValueError("only what one message calls for goes together: of one request, generation and delivery")
    return named[0] | {"refs": refs}


def _ended(one: Settled) -> dict[str, Any]:
    held = one.held
    ended: dict[str, Any] = {
        "ref": held.ref,
        "generation": held.generation,
        "attempt": held.attempt,
        "step": held.step,
        "state": one.state,
        "items": one.items,
        "bytes": one.size_bytes,
        "run_ms": one.run_s * 1000,
        "jitter": random.random(),
    }
    if one.error is not None:
        ended["error"] = _compact(one.error)
    if one.again_s is not None:
        ended["again_ms"] = max(0, int(one.again_s * 1000))
    return ended


def _compact(error: ErrorInfo) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(error).items() if value is not None}
