"""What is known of a request in flight, gathered from its events."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery_collectors.events import Event
    from celery_collectors.model import Outcome, Report

ENDED = frozenset({"ok", "empty", "failed", "timed_out", "lost", "cancelled", "skipped"})


@dataclass
class Line:
    """Where one run or stage is."""

    name: str
    state: str = "queued"
    attempt: int = 0
    items: int = 0
    error: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    due_ms: float | None = None

    def hear(self, event: Event) -> None:
        """Take over what an event says."""
        self.state, self.attempt, self.items = event.state, event.attempt, event.items
        self.error = event.error.message if event.error else None
        self.due_ms = None if event.delay_s is None else event.at_ms + event.delay_s * 1000
        if event.state == "running":
            self.started_ms = event.at_ms
        self.ended_ms = None if event.state == "running" else event.at_ms

    def elapsed_s(self, now_ms: float) -> float | None:
        """Seconds of the attempt that runs, or ran last."""
        if self.started_ms is None:
            return None
        return max(0.0, ((self.ended_ms or now_ms) - self.started_ms) / 1000)


@dataclass
class Progress:
    """Where a request is; ``runs`` in the order asked."""

    request_id: str
    topic: str
    state: str
    created_ms: float
    deadline_ms: float
    clock_off_ms: float = 0.0
    generation: int = 1
    runs: dict[str, Line] = field(default_factory=dict)
    stages: dict[str, Line] = field(default_factory=dict)

    @classmethod
    def of(cls, report: Report, now_ms: float) -> Progress:
        """The beginning of its present generation, before any event of that is heard.

        Args:
            report: The request's.
            now_ms: The ledger's time, by which everything of the request is timed.
        """
        created, deadline = report.created_at, report.deadline_at
        return cls(
            request_id=report.request_id,
            topic=report.topic,
            state="collecting",
            created_ms=created.timestamp() * 1000 if created else now_ms,
            deadline_ms=deadline.timestamp() * 1000 if deadline else now_ms,
            clock_off_ms=now_ms - time.time() * 1000,
            generation=report.generation,
            runs={name: _kept(name, one, report.generation) for name, one in report.outcomes.items()},
        )

    def hear(self, event: Event) -> None:
        """Take over what an event says."""
        if event.subject == "request":
            self.state = event.state
            if event.generation > 1 and event.state == "collecting" and not event.priority:
                self.created_ms = event.at_ms
            return
        lines = self.runs if event.subject == "run" else self.stages
        lines.setdefault(event.name, Line(event.name)).hear(event)

    def now_ms(self) -> float:
        """The ledger's time, by this machine's clock and how far that was off."""
        return time.time() * 1000 + self.clock_off_ms

    def elapsed_s(self) -> float:
        """Seconds since the request was opened."""
        return max(0.0, (self.now_ms() - self.created_ms) / 1000)

    def counts(self) -> dict[str, int]:
        """How many runs are in which state."""
        return counted(line.state for line in self.runs.values())


def _kept(name: str, outcome: Outcome, generation: int) -> Line:
    """A run's line; of what answered in an earlier generation no event comes any more."""
    is_kept = generation > 1 and outcome.state in ENDED
    return (
        Line(name, state=str(outcome.state), attempt=outcome.attempts, items=outcome.items) if is_kept else Line(name)
    )


def counted(states: Iterable[str]) -> dict[str, int]:
    """How often each state occurs.

    >>> counted(["ok", "failed", "ok"])
    {'ok': 2, 'failed': 1}
    """
    found: dict[str, int] = {}
    for state in states:
        found[state] = found.get(state, 0) + 1
    return found
