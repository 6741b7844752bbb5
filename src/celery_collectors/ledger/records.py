"""What goes into the ledger's scripts and what comes back, as frozen records."""

from __future__ import annotations

import msgspec

from celery_collectors.model import ErrorInfo

RESULT = "result"
"""The ref of an order that is no message: a chord's result, to be stored where Celery looks for it."""


class RunPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run as ``open`` writes it.

    The fields from ``call`` on are those of a chord's member: that its message is made from a stored call, a priority
    of its own, that it must not run again after a crash, the rest of a chain, when it is due and when it expires.
    """

    name: str
    task: str
    queue: str
    retries: int
    timeout_ms: int
    backoff_ms: int
    backoff_cap_ms: int
    required: bool = False
    call: bool = False
    priority: str | None = None
    once: bool = False
    more: tuple[StepPlan, ...] = ()
    delay_ms: int | None = None
    expires_ms: int | None = None


class StepPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A further task of a chain, which goes on with the value of the one before it."""

    task: str
    queue: str
    timeout_ms: int
    retries: int = 0
    priority: str | None = None
    once: bool = False


class StagePlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stage as ``open`` writes it; ``ref`` is ``gathering``, ``cleanup`` or ``process``.

    ``declared`` says of a chord's callback that it is the declared stage, and asks for nothing of its message.
    """

    ref: str
    name: str
    task: str
    queue: str
    retries: int
    backoff_ms: int
    backoff_cap_ms: int
    call: bool = False
    declared: bool = False
    priority: str | None = None
    once: bool = False


class LinkPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is called after a chord's end: ``kind`` is ``link``, or ``link_error`` for one that failed."""

    ref: str
    kind: str
    name: str
    task: str
    queue: str
    timeout_ms: int
    priority: str | None = None
    once: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One message to publish, the call to come and fetch a run or stage; :data:`RESULT` as ref is a result to store.

    Attributes:
        stamp: The ledger's time when it was handed out; 0 in those that whoever opened the request makes itself.
        call: Of a chord: the stored call that the message is made from, of which this is ``step``.
        failures: How often it failed before.
        time_left_ms: How long it may run at most, if it is a call.
        level_given: Whether the priority was given to the whole request later: then it outranks a call's own.
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
    call: str = ""
    step: int = 0
    failures: int = 0
    time_left_ms: float = 0
    level_given: bool = False


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a process holds a lease on."""

    request_id: str
    ref: str
    generation: int
    attempt: int
    step: int = 0


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended, as ``settle`` takes it."""

    held: Held
    state: str
    value: bytes = b""
    items: int = 0
    size_bytes: int = 0
    run_s: float = 0.0
    error: ErrorInfo | None = None
    again_s: float | None = None


class Then(msgspec.Struct, frozen=True, kw_only=True):
    """A stage that may be run along with the one before it."""

    ref: str
    name: str


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``start``: go, with a lease, or not, with the reason.

    ``before`` is the stage whose items a stage gets, if there is one; ``missing`` the stored value that a chord's
    callback gets for each member that failed, if there is one. ``given`` is what a stage is made from, where that is
    small: the value of the stage before it, or of each run in the order asked, ``None`` for one that has none.
    ``asked`` is the stored call of a chord's callback that goes on in place, for which there is no message. ``then``
    are the stages after one that goes on in place, as far as they are known to be short: whoever has this grant may
    run them one after another (see :meth:`along`), and commit all of them by one ``settle_together``. ``alone`` says
    that its next crash would be its last: no other such one may be in the same process.
    """

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
    call: bool = False
    step: int = 0
    failures: int = 0
    before: str = ""
    missing: str = ""
    asked: str = ""
    given: tuple[bytes | None, ...] = ()
    then: tuple[Then, ...] = ()
    alone: bool = False

    def along(self, then: Then, given: tuple[bytes | None, ...]) -> Grant:
        """This grant, as it would be for a stage that is run along with it, made from what the one before gave."""
        return msgspec.structs.replace(
            self,
            ref=then.ref,
            name=then.name,
            attempt=1,
            call=False,
            step=0,
            failures=0,
            before=self.ref,
            missing="",
            asked="",
            given=given,
            then=self.then[self.then.index(then) + 1 :],
        )

    @property
    def held(self) -> Held:
        """The lease that this grant gives."""
        return Held(
            request_id=self.request_id,
            ref=self.ref,
            generation=self.generation,
            attempt=self.attempt,
            step=self.step,
        )


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``open``, true if it opened the request; with orders that follow at once, if it has no runs."""

    opened: bool = False
    orders: list[Order] = []

    def __bool__(self) -> bool:
        return self.opened


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one of several attempts that were settled together."""

    ref: str
    kept: bool
    reason: str = ""
    state: str = ""
    delay_ms: float | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``settle``, ``advance``, ``died``, ``cancel``, ``retry``, ``reprioritise`` and ``claim``.

    It is ``complete`` if the verb has ended its request so, which nothing changes any more. ``each`` says what became
    of several attempts that were settled together, in the order given. ``stored`` says that there are stored values to
    be sifted. ``in_place`` names the stage that died in place.
    """

    kept: bool = False
    reason: str = ""
    state: str = ""
    generation: int = 0
    delay_ms: float | None = None
    orders: list[Order] = []
    next: Grant | None = None
    complete: bool = False
    more: bool = False
    busy: bool = False
    stored: bool = False
    marks: dict[str, float] = {}
    each: list[Verdict] = []
    in_place: str = ""


class Sifted(msgspec.Struct, frozen=True, kw_only=True):
    """Stored values that nobody needs any more, as the ledger names them, and whether there are more of them."""

    unwanted: list[str] = []
    more: bool = False


class WorkerBeat(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as it last reported itself.

    Attributes:
        worker: Its name, as Celery has it.
        queues: Those that it consumes.
        at_ms: When that was, in ledger time.
        silent_ms: How long ago that was.
        pool, processes: Of which kind its pool is, and how many processes or threads that has.
        idle_for_ms: For how long it has had nothing to do; ``None`` while it is busy.
        clock_off_ms: How far its clock is ahead of the ledger's.
        version: Of this package.
    """

    worker: str
    queues: list[str]
    at_ms: float
    silent_ms: float = 0.0
    pool: str = ""
    processes: int = 0
    idle_for_ms: float | None = None
    clock_off_ms: float | None = None
    version: str = ""


class RecordView(msgspec.Struct, frozen=True, kw_only=True):
    """A run or stage as the ledger holds it; what only scripts need is left out."""

    name: str
    state: str
    task: str = ""
    required: bool = False
    attempt: int = 0
    crashes: int = 0
    wait_ms: float | None = None
    run_ms: float | None = None
    items: int = 0
    bytes: int = 0
    worker: str | None = None
    error: ErrorInfo | None = None
