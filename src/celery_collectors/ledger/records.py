"""What goes into the ledger's scripts and what comes back, as frozen records."""

from __future__ import annotations

import msgspec

from celery_collectors.model import ErrorInfo


class RunPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run as ``open`` writes it."""

    name: str
    task: str
    queue: str
    retries: int
    timeout_ms: int
    backoff_ms: int
    backoff_cap_ms: int
    required: bool = False


class StagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One declared stage as ``open`` writes it; ``ref`` is ``gathering``, ``cleanup`` or ``process``."""

    ref: str
    name: str
    task: str
    queue: str
    retries: int
    backoff_ms: int
    backoff_cap_ms: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One message to publish: the call to come and fetch a run or stage.

    ``stamp`` is the ledger's time when it was handed out; 0 in those that whoever opened the request makes itself.
    """

    request_id: str
    ref: str
    name: str
    task: str
    queue: str
    generation: int
    delivery: int
    topic: str
    priority: str
    stamp: float = 0


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a process holds a lease on."""

    request_id: str
    ref: str
    generation: int
    attempt: int


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``start``: go, with a lease, or not, with the reason."""

    go: bool
    reason: str = ""
    state: str = ""
    request_id: str = ""
    ref: str = ""
    name: str = ""
    topic: str = ""
    generation: int = 0
    attempt: int = 0
    ends_in_ms: float = 0
    ends_at: float = 0
    deadline_at: float = 0
    finish_in_ms: float = 0

    @property
    def held(self) -> Held:
        """The lease that this grant gives."""
        return Held(request_id=self.request_id, ref=self.ref, generation=self.generation, attempt=self.attempt)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``settle``, ``advance``, ``died`` and ``claim``."""

    kept: bool = False
    reason: str = ""
    state: str = ""
    delay_ms: float | None = None
    orders: list[Order] = []
    next: Grant | None = None
    more: bool = False
    busy: bool = False
    marks: dict[str, float] = {}


class WorkerBeat(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as it last reported itself."""

    worker: str
    queues: list[str]
    at_ms: float
    pool: str = ""
    processes: int = 0
    idle_for_ms: float | None = None


class RecordView(msgspec.Struct, frozen=True, kw_only=True):
    """A run or stage as the ledger holds it; what only scripts need is left out."""

    name: str
    state: str
    task: str = ""
    attempt: int = 0
    crashes: int = 0
    wait_ms: float | None = None
    run_ms: float | None = None
    items: int = 0
    bytes: int = 0
    worker: str | None = None
    error: ErrorInfo | None = None
