"""The verbs of those who ask: open a request, cancel it, try it again, let it go first, let it go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from celery_collectors.ledger.records import LinkPlan, Opened, Reply, RunPlan, StagePlan
from celery_collectors.ledger.shards import Shards
from celery_collectors.model import Policy

OPEN_AT_ONCE = 500
UNSEALED_TTL_MS = 3_600_000


class Asking(Shards):
    """What clients call."""

    def reserve(self, key: str, request_id: str) -> str:
        """Give an idempotency key to a request id, and return the id that has it."""
        arguments = {"key": key, "request_id": request_id, "ttl_ms": self._ttl_ms}
        reply = msgspec.msgpack.decode(self._call("reserve", self.shard_of(key), arguments))
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
        plan = _packed(
            {
                "topic": topic,
                "runs": len(runs),
                "stages": msgspec.json.encode(stages).decode(),
                "min_ok": policy.min_ok,
                "first": policy.first,
                "messages": messages,
                "ttl_ms": self._ttl_ms,
                "links": msgspec.json.encode(links).decode() if links else None,
                "result_id": result_id,
                "max_items": self._settings.request_max_items,
                "max_bytes": self._settings.request_max_bytes,
            }
        )
        arguments = {
            "request_id": request_id,
            "topic": topic,
            "priority": priority,
            "total": len(runs),
            "required": sum(run.required for run in runs),
            "deadline_ms": int(deadline_s * 1000),
            "finish_ms": int(finish_s * 1000),
            "unsealed_ttl_ms": UNSEALED_TTL_MS,
        }
        opened = Opened()
        for start in range(0, max(1, len(runs)), OPEN_AT_ONCE):
            chunk = runs[start : start + OPEN_AT_ONCE]
            last = start + OPEN_AT_ONCE >= len(runs)
            arguments |= {"from": start, "seal": last, "timed": _times_of(chunk)}
            arguments["calls"] = _calls_of(calls or {}, start, len(chunk), last)
            opened = self._reply("open", request_id, arguments, Opened, [plan, *map(_packed, chunk)])
        return opened

    def cancel(self, request_id: str, *, reason: str | None = None, by: str | None = None) -> Reply:
        """End a request; the reply's state is that which it is in now (``unknown`` if there is none)."""
        arguments: dict[str, Any] = {"request_id": request_id}
        arguments |= {k: v for k, v in {"reason": reason, "by": by}.items() if v}
        return self._reply("cancel", request_id, arguments, Reply)

    def forget(self, request_id: str) -> bool:
        """Remove a finished request before its time is over; ``False`` if it is not finished."""
        reply = msgspec.msgpack.decode(self._call("forget", self.shard_of(request_id), {"request_id": request_id}))
        return bool(reply["forgotten"])

    def retry(
        self,
        request_id: str,
        refs: Sequence[str],
        *,
        generation: int,
        token: str,
        deadline_s: float,
        finish_s: float,
    ) -> Iterator[Reply]:
        """Begin a request's next generation; yields the answers, each with orders, until all runs are queued again.

        Args:
            request_id: The request's.
            refs: The runs that are to run again.
            generation: The one that is tried again; if there is another by now, the reply's reason is ``superseded``.
            token: Unique to this call, so that a call whose reply was lost goes on where it was.
            deadline_s, finish_s: The new times.
        """
        arguments: dict[str, Any] = {
            "request_id": request_id,
            "generation": generation,
            "token": token,
            "deadline_ms": int(deadline_s * 1000),
            "finish_ms": int(finish_s * 1000),
            "unsealed_ttl_ms": UNSEALED_TTL_MS,
        }
        for start in range(0, max(1, len(refs)), OPEN_AT_ONCE):
            chunk = {"refs": list(refs[start : start + OPEN_AT_ONCE]), "from": start}
            arguments |= chunk | {"seal": start + OPEN_AT_ONCE >= len(refs)}
            reply = self._reply("retry", request_id, arguments, Reply)
            if not reply.kept:
                break
        yield reply
        while reply.more:
            reply = self._reply("retry", request_id, arguments, Reply)
            yield reply

    def reprioritise(self, request_id: str, priority: str) -> Iterator[Reply]:
        """Give a request another level; yields the answers, each with orders, until all that waits is called anew."""
        arguments = {"request_id": request_id, "priority": priority}
        more = True
        while more:
            reply = self._reply("reprioritise", request_id, arguments, Reply)
            more = reply.more
            yield reply


_packed = msgspec.msgpack.Encoder().encode


def _times_of(runs: Sequence[RunPlan]) -> dict[int, tuple[int | bool, int | bool]]:
    """By their place, from 1: after how long those runs are due and expire that do not begin at once and wait."""
    return {
        place: (run.delay_ms or False, run.expires_ms or False)
        for place, run in enumerate(runs, 1)
        if run.delay_ms or run.expires_ms
    }


def _calls_of(calls: Mapping[str, str], start: int, count: int, last: bool) -> dict[str, str]:
    """The calls that go with a chunk of runs; those that are no run's go with the last."""
    some = {ref: calls[ref] for ref in map(str, range(start, start + count)) if ref in calls}
    return some | ({ref: call for ref, call in calls.items() if not ref.isdigit()} if last else {})
