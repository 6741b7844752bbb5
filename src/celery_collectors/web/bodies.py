"""What is sent and answered, as the OpenAPI document describes it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

TOPIC_MAX_CHARS = 512
REASON_MAX_CHARS = 500
YEAR_S = 365 * 24 * 3600

Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[list[Name], Field(max_length=1000)]
Whole = BeforeValidator(lambda said: int(said) if isinstance(said, float) and said % 1 == 0 else said)
"""JSON knows one kind of number: 2.0 is as whole as 2."""
Count = Annotated[int, Field(ge=1, le=100_000), Whole]
Seconds = Annotated[float, Field(gt=0, le=YEAR_S)]
Level = Literal["low", "normal", "high"]
RunState = Literal[
    "queued", "running", "retrying", "ok", "empty", "failed", "timed_out", "lost", "cancelled", "skipped"
]
RequestState = Literal[
    "collecting", "gathering", "cleaning", "processing", "complete", "partial", "failed", "cancelled"
]


def _as_written(said: object) -> object:
    """A time as it is written in JSON: a number is none."""
    if said is None or (isinstance(said, str) and _MOMENT.fullmatch(said)):
        return said
    raise ValueError("a time is written as 2026-11-28T09:30:00Z")


_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
Moment = Annotated[AwareDatetime, BeforeValidator(_as_written)]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Question(_Sent):
    """What is asked."""

    topic: Annotated[str, Field(min_length=1, max_length=TOPIC_MAX_CHARS, description="What is asked for.")]
    deadline_s: Annotated[Seconds | None, Field(description="Seconds until collecting ends.")] = None
    finish_s: Annotated[Seconds | None, Field(description="Seconds that the stages may take after that.")] = None
    min_ok: Annotated[int, Field(ge=0, le=100_000, description="How many collectors must answer."), Whole] = 1
    required: Annotated[Names, Field(description="Collectors that must answer.")] = []
    first: Annotated[Count | None, Field(description="End as soon as this many answered.")] = None
    only: Annotated[Names, Field(description="Ask just these collectors.")] = []
    priority: Level = "normal"
    messages: Literal["auto", "each"] | None = None


class Cancel(_Sent):
    """Why a request is cancelled."""

    reason: Annotated[str | None, Field(max_length=REASON_MAX_CHARS)] = None


class Retry(_Sent):
    """What is tried again."""

    only: Annotated[Names | None, Field(description="Names of runs; by default all that failed.")] = None
    deadline_s: Seconds | None = None
    finish_s: Seconds | None = None
    force: Annotated[bool, Field(description="Try also what trying again can't help, by what its error says.")] = False


class Priority(_Sent):
    """Which level a request is given."""

    level: Level


class Error(BaseModel):
    """What went wrong in a run, a stage or a request."""

    type: str
    kind: str
    message: str
    retryable: bool


class Outcome(BaseModel):
    """How one run ended, or where it is."""

    state: RunState
    attempts: int
    items: int
    bytes: int
    wait_s: float | None
    run_s: float | None
    worker: str | None
    error: Error | None


class Report(BaseModel):
    """All outcomes of a request, its state and its result; the same on every face."""

    version: Literal[1]
    request_id: UUID
    topic: str
    state: RequestState
    generation: int
    created_at: datetime | None
    deadline_at: datetime | None
    finished_at: datetime | None
    outcomes: dict[str, Outcome]
    error: Error | None
    result: Any


class Line(BaseModel):
    """One request in a list."""

    request_id: UUID
    topic: str
    state: RequestState
    created_at: datetime | None
    finished_at: datetime | None
    runs: int
    open: int
    missing: int


class Listed(BaseModel):
    """Some requests, and the cursor with which the list goes on."""

    version: Literal[1]
    requests: list[Line]
    cursor: str | None


class State(BaseModel):
    """The state that a request is in now."""

    request_id: UUID
    state: RequestState


class Retried(BaseModel):
    """What a retry began."""

    request_id: UUID
    generation: int
    runs: list[str]
    left: list[str]


class Tally(BaseModel):
    """How a collector did in the newest requests."""

    runs: int
    answered: int
    reliability: float | None
    run_p50_s: float | None
    run_p95_s: float | None
    last_error: Error | None
    last_error_in: UUID | None


class Collector(BaseModel):
    """A declared collector."""

    name: str
    topics: list[str]
    timeout_s: float
    retries: int
    kind: Literal["sync", "async"]
    description: str | None
    lately: Tally


class Declared(BaseModel):
    """Every declared collector."""

    version: Literal[1]
    collectors: list[Collector]


class Wrong(BaseModel):
    """One thing that is wrong with what was sent."""

    at: str
    message: str


class Problem(BaseModel):
    """What went wrong with the call itself (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    error: str | None = None
    errors: list[Wrong] | None = None


class Ready(BaseModel):
    """What a server that answers says of itself."""

    ready: bool
    workers: int
