"""A world in which the laws of ``laws.py`` are looked at after every call, whatever a test does in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis import Redis

from celery_collectors.ledger import RESULT, RunPlan, StagePlan
from celery_collectors.model import Policy
from tests.ledger import laws, snapshot
from tests.ledger.snapshot import Plan, Request
from tests.ledger.world import World, run, stage


class Watched(World):
    """Collects the names of the laws that were broken."""

    def __init__(self, client: Redis, prefix: str, **changes: Any) -> None:
        super().__init__(client, prefix, **changes)
        self.broken: set[str] = set()
        self._plans: dict[str, Plan] = {}
        self._before: dict[str, Request] = {}
        self._stored: set[tuple[str, int]] = set()
        self._revoked: dict[str, set[str]] = {}
        self._asked: dict[str, dict[str, int]] = {}
        self.ledger.shards  # noqa: B018 - fixed before the first look
        self._run = self.ledger._run
        self.ledger._run = self._watched  # type: ignore[method-assign]

    def open_as(
        self, request_id: str, *runs: RunPlan | str, stages: Iterable[StagePlan | str] = (), **changes: Any
    ) -> bool:
        planned = [run(one) if isinstance(one, str) else one for one in runs]
        stages = [stage(one) if isinstance(one, str) else one for one in stages]
        self._plans.setdefault(
            request_id,
            Plan(
                names=tuple(one.name for one in planned),
                required=tuple(one.required for one in planned),
                policy=changes.get("policy", Policy()),
                stages=tuple(one.ref for one in stages),
                deadline_ms=0,
                finish_ms=0,
                traits=tuple("chain" if one.more else "" for one in planned),
                links=tuple(one.kind for one in changes.get("links", ())),
                has_result=changes.get("result_id") is not None,
            ),
        )
        return super().open_as(request_id, *planned, stages=stages, **changes)

    def _watched(self, name: str, prefix: str, arguments: Mapping[str, Any], values: Sequence[bytes] = ()) -> Any:
        self._hear(name, arguments)
        try:
            return self._run(name, prefix, arguments, values)
        finally:  # a script that raises has done what it did
            self._look()

    def _look(self) -> None:
        after = snapshot.take(self, self._plans)
        for request_id, request in after.items():
            self._tell(request)
            for law, holds in laws.checks(self._before.get(request_id), request, self.clock()):
                try:
                    holds()
                except (AssertionError, KeyError):
                    self.broken.add(law)
        self._before = after

    def _hear(self, name: str, arguments: Mapping[str, Any]) -> None:
        """What laws have to be told, because the ledger does not keep it."""
        request_id = arguments.get("request_id", "")
        if name == "published":
            results = [order for order in arguments["orders"] if order["ref"] == RESULT]
            self._stored |= {(order["request_id"], order["generation"]) for order in results}
        elif name == "died" and "ended" in arguments:
            self._revoked.setdefault(request_id, set()).update(arguments["refs"])
        for one in arguments.get("ended", ()) if name in ("settle", "advance") else ():
            if "again_ms" in one:
                asked = self._asked.setdefault(request_id, {})
                asked[one["ref"]] = asked.get(one["ref"], 0) + 1

    def _tell(self, request: Request) -> None:
        request.asked = self._asked.get(request.request_id, {})
        request.revoked = self._revoked.get(request.request_id, set())
        request.is_stored = (request.request_id, request.generation) in self._stored
