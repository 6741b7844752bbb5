"""The records of a request, its states, the one table of transitions, and the policy. No I/O.

The ledger's scripts get :data:`RUN_TRANSITIONS`, :data:`REQUEST_TRANSITIONS` and the sets of final
states rendered into their prelude, so that what may follow what is written once, here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from celery_collectors.errors import PolicyError, ReportOnly


class RunState(StrEnum):
    """Where one subcollector's part in one request is."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    OK = "ok"
    EMPTY = "empty"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class RequestState(StrEnum):
    """Where a request is. ``UNKNOWN`` is what a reader sees when the ledger holds no such request."""

    COLLECTING = "collecting"
    GATHERING = "gathering"
    CLEANING = "cleaning"
    PROCESSING = "processing"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


RUN_ENDED = frozenset(
    {
        RunState.OK,
        RunState.EMPTY,
        RunState.FAILED,
        RunState.TIMED_OUT,
        RunState.LOST,
        RunState.CANCELLED,
        RunState.SKIPPED,
    }
)
RUN_ANSWERED = frozenset({RunState.OK, RunState.EMPTY})
RUN_MISSING = frozenset({RunState.FAILED, RunState.TIMED_OUT, RunState.LOST, RunState.CANCELLED})
REQUEST_ENDED = frozenset({RequestState.COMPLETE, RequestState.PARTIAL, RequestState.FAILED, RequestState.CANCELLED})

RUN_TRANSITIONS: Mapping[RunState, frozenset[RunState]] = {
    # A queued run can be answered: an attempt whose lease had lapsed may still come home.
    RunState.QUEUED: RUN_ENDED | {RunState.RUNNING},
    RunState.RUNNING: RUN_ENDED | {RunState.RETRYING, RunState.QUEUED},
    RunState.RETRYING: RUN_ENDED | {RunState.QUEUED},
    # What answered is over for good; the others may be tried again, in the request's next generation.
    **{state: frozenset() for state in RUN_ANSWERED},
    **{state: frozenset({RunState.QUEUED}) for state in RUN_ENDED - RUN_ANSWERED},
}

REQUEST_TRANSITIONS: Mapping[RequestState, frozenset[RequestState]] = {
    RequestState.COLLECTING: REQUEST_ENDED | {RequestState.GATHERING, RequestState.CLEANING, RequestState.PROCESSING},
    RequestState.GATHERING: REQUEST_ENDED | {RequestState.CLEANING, RequestState.PROCESSING},
    RequestState.CLEANING: REQUEST_ENDED | {RequestState.PROCESSING},
    RequestState.PROCESSING: REQUEST_ENDED,
    RequestState.COMPLETE: frozenset(),
    RequestState.CANCELLED: frozenset(),
    RequestState.PARTIAL: frozenset({RequestState.COLLECTING}),  # a retry begins the next generation
    RequestState.FAILED: frozenset({RequestState.COLLECTING}),
}

STAGES: Mapping[str, RequestState] = {
    "gathering": RequestState.GATHERING,
    "cleanup": RequestState.CLEANING,
    "process": RequestState.PROCESSING,
}
"""The stages after collecting, in their order, and the request's state while each runs."""


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong in a run or stage.

    Attributes:
        type: The exception's class name, or a word of ours (``Timeout``, ``Lost``).
        kind: ``config`` (mend the project), ``transient`` (the source), ``system`` (workers, servers).
        message: One line for a person.
        retryable: Whether trying the same again can help.
        traceback: The traceback's text, where there was one; not part of the report's JSON.
    """

    type: str
    kind: str
    message: str
    retryable: bool
    traceback: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The error as DESIGN's report has it."""
        return {"type": self.type, "kind": self.kind, "message": self.message, "retryable": self.retryable}


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as an answer.

    Args:
        min_ok: How many runs must answer (``ok`` or ``empty``). Never ends collecting early.
        required: Names of runs that must answer.
        first: End collecting as soon as this many answered and the rest of the policy is met.

    >>> Policy(min_ok=2).is_met(answered=1, required_open=0)
    False
    """

    min_ok: int = 1
    required: tuple[str, ...] = ()
    first: int | None = None

    def check(self, names: tuple[str, ...]) -> None:
        """Raise :class:`PolicyError` if no outcome of runs with these names could meet the policy."""
        for name, value in (("min_ok", self.min_ok), ("first", 1 if self.first is None else self.first)):
            if type(value) is not int:
                raise PolicyError(f"{name} is a whole number, not {value!r}")
        if self.min_ok < 0 or self.min_ok > len(names):
            raise PolicyError(f"min_ok={self.min_ok} can't be met: {len(names)} are asked")
        if self.first is not None and not 1 <= self.first <= len(names):
            raise PolicyError(f"first={self.first} can't be met: {len(names)} are asked")
        for name in self.required:
            if name not in names:
                raise PolicyError(f"required={name!r} is not among those asked: {', '.join(names)}")

    def is_met(self, *, answered: int, required_open: int) -> bool:
        """Whether what has answered is enough; ``required_open`` counts required runs without an answer."""
        return answered >= self.min_ok and required_open == 0

    def is_impossible(self, *, answered: int, still_open: int, required_missing: int) -> bool:
        """Whether no further answer can meet it; a run that is retrying still counts as open."""
        return required_missing > 0 or answered + still_open < self.min_ok

    def ends_early(self, *, answered: int, required_open: int) -> bool:
        """Whether ``first`` is reached, so that the other runs are not needed."""
        return (
            self.first is not None
            and answered >= self.first
            and self.is_met(answered=answered, required_open=required_open)
        )


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one run ended, or where it is.

    Attributes:
        state: A :class:`RunState`.
        attempts: How often it was started.
        items, bytes: How many items it produced, and their encoded size.
        wait_s, run_s: Seconds in the queue before the first start, and seconds of its last attempt.
        worker: The worker process that had it last.
        error: What went wrong last, or ``None``.
    """

    state: RunState
    attempts: int = 0
    items: int = 0
    bytes: int = 0
    wait_s: float | None = None
    run_s: float | None = None
    worker: str | None = None
    error: ErrorInfo | None = None

    def to_dict(self) -> dict[str, Any]:
        """The outcome as DESIGN's report has it."""
        return {
            "state": str(self.state),
            "attempts": self.attempts,
            "items": self.items,
            "bytes": self.bytes,
            "wait_s": self.wait_s,
            "run_s": self.run_s,
            "worker": self.worker,
            "error": self.error.to_dict() if self.error else None,
        }


class Report(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All outcomes of a request, its state and its result.

    A record, which does no I/O; one from a request's handle or from ``run_local`` can be asked for the items, too.

    Attributes:
        request_id: The request's UUID.
        topic: What was asked for.
        state: A :class:`RequestState`.
        generation: 1, and one more for each retry of the request.
        created_at, deadline_at, finished_at: Ledger time, UTC; ``None`` where not reached.
        outcomes: Every run's :class:`Outcome` by name, in the order asked.
        stages: Every declared stage's :class:`Outcome` by name.
        result: What the process stage returned.
        error: Why the request failed or was cancelled, or ``None``.
    """

    request_id: str
    topic: str
    state: RequestState
    generation: int = 1
    created_at: datetime | None = None
    deadline_at: datetime | None = None
    finished_at: datetime | None = None
    outcomes: dict[str, Outcome] = {}
    stages: dict[str, Outcome] = {}
    result: Any = None
    error: ErrorInfo | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to this generation of the request."""
        return self.state in REQUEST_ENDED

    def items(self) -> Iterator[Any]:
        """Yield the request's items: cleaned if there is a cleanup stage, else as they were collected.

        They are read as they are asked for, some at a time.

        Raises:
            ReportOnly: when this report was copied, or put together from its JSON.
            PayloadError: when stored items are damaged or gone.
        """
        source = self.__dict__.get("items_from")
        if source is None:
            raise ReportOnly(f"this report has no way to its items: ask collectors.get({self.request_id!r}).items()")
        found: Iterator[Any] = source()
        return found

    def with_items(self, source: Callable[[], Iterator[Any]]) -> Report:
        """The same report, which finds its items there; that is no part of the record itself."""
        report = msgspec.structs.replace(self)
        report.__dict__["items_from"] = source
        return report

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-able data, version 1, the same on every face."""
        return {
            "version": 1,
            "request_id": self.request_id,
            "topic": self.topic,
            "state": str(self.state),
            "generation": self.generation,
            "created_at": rfc3339(self.created_at),
            "deadline_at": rfc3339(self.deadline_at),
            "finished_at": rfc3339(self.finished_at),
            "outcomes": {name: outcome.to_dict() for name, outcome in self.outcomes.items()},
            "error": self.error.to_dict() if self.error else None,
            "result": self.result,
        }


def at(time_ms: float | None) -> datetime | None:
    """Ledger milliseconds as an aware UTC time."""
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC)


def rfc3339(moment: datetime | None) -> str | None:
    """A time as every face writes it: RFC 3339 in UTC, to the millisecond."""
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
