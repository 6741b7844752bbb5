"""What a question would become, told before it is asked: its runs, the messages they share, its stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from celery_collectors.plan import Plan, messages_of
from celery_collectors.settings import Settings


class PlannedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run as it would be.

    Attributes:
        name: The run's.
        timeout_s, retries, required: As they would hold.
        known_s: How long it has taken lately; ``None`` if nobody knows.
        message: Which message calls for it, from 1; those with the same number share it.
        why: Why it shares one, or does not.
    """

    name: str
    timeout_s: float
    retries: int
    required: bool
    known_s: float | None
    message: int
    why: str


class PlannedStage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage as it would be; ``in_place`` if it needs no message, because it is known to be short."""

    ref: str
    name: str
    known_s: float | None
    in_place: bool


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A question's plan, as people and programs read it."""

    topic: str
    messages: int
    runs: tuple[PlannedRun, ...]
    stages: tuple[PlannedStage, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-able data, version 1."""
        return {"version": 1, **msgspec.to_builtins(self)}


def explain(plan: Plan, known_ms: Mapping[str, float], settings: Settings, *, messages: str) -> Explanation:
    """Tell what a plan comes to.

    Args:
        plan: The question's.
        known_ms: Run times as the ledger knows them, by task.
        settings: What messages cost.
        messages: ``auto`` or ``each``.
    """
    each = messages == "each"
    groups = [(number,) for number in range(len(plan.runs))] if each else messages_of(plan, known_ms, settings)
    message = {number: place for place, group in enumerate(groups, 1) for number in group}
    runs = tuple(
        PlannedRun(
            name=run.name,
            timeout_s=run.timeout_ms / 1000,
            retries=run.retries,
            required=run.required,
            known_s=_seconds(known_ms.get(run.task)),
            message=message[number],
            why=messages if each else _why(plan, number, known_ms, settings),
        )
        for number, run in enumerate(plan.runs)
    )
    stages = tuple(
        PlannedStage(
            ref=stage.ref,
            name=stage.name,
            known_s=_seconds(known_ms.get(stage.task)),
            in_place=not each and known_ms.get(stage.task, settings.short_s * 2000) <= settings.short_s * 1000,
        )
        for stage in plan.stages
    )
    sent = len(groups) + sum(not stage.in_place for stage in stages)
    return Explanation(topic=plan.topic, messages=sent, runs=runs, stages=stages)


def _why(plan: Plan, number: int, known_ms: Mapping[str, float], settings: Settings) -> str:
    task = plan.runs[number].task
    if task in plan.on_loop:
        return "async"
    run_ms = known_ms.get(task)
    if run_ms is None:
        return "unknown"
    return "short" if run_ms <= settings.message_s * 1000 else "long"


def _seconds(run_ms: float | None) -> float | None:
    return None if run_ms is None else round(run_ms / 1000, 4)
