"""Everything the ledger holds of some requests, read in one step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from celery_collectors.dispatch import PRIORITIES
from celery_collectors.ledger import RESULT
from celery_collectors.ledger.stored import head_of, records_of
from celery_collectors.model import REQUEST_ENDED, RUN_ENDED, STAGES, Policy
from tests.ledger.world import QUEUE, World

KINDS = ("request", "values", "calls", "events")


class Plan(msgspec.Struct, frozen=True):
    """What a request was opened with; a chord's runs have traits (``chain``, ``once``, …), and something follows it."""

    names: tuple[str, ...]
    required: tuple[bool, ...]
    policy: Policy
    stages: tuple[str, ...]
    deadline_ms: int
    finish_ms: int
    traits: tuple[str, ...]
    links: tuple[str, ...] = ()
    has_result: bool = False

    def last_step(self, ref: str) -> int:
        """The step of a run (0 if it is no chain) whose value is its answer."""
        return int(ref.isdigit() and "chain" in self.traits[int(ref)])

    def is_due_at_once(self, ref: str) -> bool:
        """Whether the opener publishes this run."""
        return self.traits[int(ref)] != "delay"


class Request(msgspec.Struct):
    """One sealed request as the ledger holds it."""

    request_id: str
    plan: Plan
    head: dict[str, Any]
    runs: dict[str, dict[str, Any]]
    stages: dict[str, dict[str, Any]]
    links: dict[str, dict[str, Any]]
    result: dict[str, Any] | None
    values: dict[str, bytes]
    ttls: list[int]
    due: dict[str, float]
    waiting: dict[str, float]
    asked: dict[str, int] = {}
    revoked: set[str] = set()
    is_stored: bool = False

    @property
    def state(self) -> str:
        return str(self.head["state"])

    @property
    def ended(self) -> bool:
        return self.state in REQUEST_ENDED

    @property
    def generation(self) -> int:
        return int(self.head["generation"])

    def is_of_now(self, record: dict[str, Any]) -> bool:
        """Whether this is known to have ended in the present generation: not in the very moment of its beginning."""
        return self.generation == 1 or bool(record["ended_at"] > self.head["began_at"])

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        return self.runs | self.stages | self.links

    @property
    def values_of_runs(self) -> dict[str, bytes]:
        return {ref: value for ref, value in self.values.items() if ref not in STAGES}

    @property
    def still_follows(self) -> set[str]:
        """The refs of what follows the end and is not done."""
        links = {ref for ref, record in self.links.items() if record["state"] not in RUN_ENDED}
        return links | ({RESULT} if self.result else set())

    @property
    def open_runs(self) -> dict[str, dict[str, Any]]:
        return {ref: record for ref, record in self.runs.items() if record["state"] not in RUN_ENDED}


def take(world: World, plans: dict[str, Plan]) -> dict[str, Request]:
    """Read every request that has a plan and is sealed."""
    shards = world.ledger.shards
    with world.client.pipeline(transaction=True) as pipe:
        for shard in shards:
            pipe.zrange(f"{shard}:due", 0, -1, withscores=True)
            for level in PRIORITIES:
                pipe.zrange(f"{shard}:waiting:{QUEUE}:{level}", 0, -1, withscores=True)
        for request_id in plans:
            for kind in KINDS[:2]:
                pipe.hgetall(world.ledger.key(kind, request_id))
            for kind in KINDS:
                pipe.pttl(world.ledger.key(kind, request_id))
        rows = iter(pipe.execute())
    due: dict[str, dict[str, float]] = {}
    waiting: dict[str, dict[str, float]] = {}
    for _ in shards:
        _spread(next(rows), due)
        for _ in PRIORITIES:
            _spread(next(rows), waiting)
    found = {}
    for request_id, plan in plans.items():
        fields, values = (dict(next(rows)) for _ in range(2))
        ttls = [next(rows) for _ in KINDS]
        head = head_of(fields.get(b"plan"), fields.get(b"now"))
        if head is not None:
            found[request_id] = _request(request_id, plan, head, records_of(head, fields), values, ttls)
            found[request_id].due = due.get(request_id, {})
            found[request_id].waiting = waiting.get(request_id, {})
    return found


def _request(request_id: str, plan: Plan, head: Any, parsed: Any, values: Any, ttls: list[int]) -> Request:
    return Request(
        request_id=request_id,
        plan=plan,
        head=head,
        runs={ref: record for ref, record in parsed.items() if ref.isdigit()},
        stages={ref: record for ref, record in parsed.items() if ref in STAGES},
        links={ref: record for ref, record in parsed.items() if ref.startswith("link")},
        result=parsed.get(RESULT),
        values={ref.decode(): value for ref, value in values.items()},
        ttls=ttls,
        due={},
        waiting={},
    )


def _spread(rows: Iterable[tuple[bytes, float]], into: dict[str, dict[str, float]]) -> None:
    for raw, score in rows:
        request_id, _, ref = raw.decode().partition(" ")
        into.setdefault(request_id, {})[ref] = score
