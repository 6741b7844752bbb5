"""Topic + registry + policy → the runs and stages of a request. Pure functions."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from celery_collectors.errors import PolicyError, RequestError
from celery_collectors.ledger import LinkPlan, Order, RunPlan, StagePlan
from celery_collectors.model import Policy
from celery_collectors.registry import Collector, Registry, Stage
from celery_collectors.settings import Settings

SHORT_AT_ONCE = 100
COROUTINES_AT_ONCE = 50


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a request will consist of; of a chord also its stored calls by ref, its links, and its result's task id.

    ``on_loop`` names the tasks of those collectors that are coroutines.
    """

    topic: str
    runs: tuple[RunPlan, ...]
    stages: tuple[StagePlan, ...]
    policy: Policy
    calls: Mapping[str, str] = {}
    links: tuple[LinkPlan, ...] = ()
    result_id: str | None = None
    on_loop: frozenset[str] = frozenset()

    def named(self, made_up: str, request_id: str) -> Plan:
        """The plan under the id that it has in the end, where an earlier delivery of a task was given another."""
        if made_up == request_id:
            return self
        calls = {ref: call.replace(made_up, request_id) for ref, call in self.calls.items()}
        result_id = request_id if self.result_id == made_up else self.result_id
        return msgspec.structs.replace(self, calls=calls, result_id=result_id)


def make_plan(registry: Registry, topic: str, *, policy: Policy, settings: Settings, only: Sequence[str] = ()) -> Plan:
    """Decide which collectors answer a topic, under which names, followed by which stages.

    Args:
        registry: What the project declares.
        topic: As the user wrote it; the plan holds it as the project writes it.
        policy: What counts as an answer.
        settings: Time limits, retries and the queue, where a collector does not say.
        only: Names of collectors, if not all that take the topic.

    Raises:
        TopicError, NoCollectorError, PolicyError: for a question that can't be asked.
    """
    topic = registry.topic(topic, max_chars=settings.topic_max_chars)
    collectors = registry.select(topic, only)
    names = run_names(collector.name for collector in collectors)
    policy.check(names)
    return Plan(
        topic=topic,
        policy=policy,
        runs=tuple(
            run_plan(collector, name, name in policy.required, settings)
            for collector, name in zip(collectors, names, strict=True)
        ),
        stages=tuple(stage_plan(stage, settings) for stage in registry.stages_in_order()),
        on_loop=frozenset(collector.task.name for collector in collectors if collector.is_async),
    )


def check_times(deadline: float | None, finish: float | None) -> None:
    """Raise :class:`PolicyError` for what can't be a time in seconds; ``None`` is one of the settings'."""
    for name, value in (("deadline", deadline), ("finish", finish)):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 < value < 366 * 24 * 3600):
            raise PolicyError(f"{name} must be a number of seconds above 0 and below a year, not {value!r}")


def check_word(name: str, value: str, known: Sequence[str]) -> None:
    """Raise :class:`RequestError` for a word that is not one of those known."""
    if value not in known:
        raise RequestError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def check_key(key: str | None) -> None:
    """Raise :class:`RequestError` for what can't be an idempotency key: an empty one would be none, silently."""
    if key is not None and not (isinstance(key, str) and key):
        raise RequestError(f"a key is a string that is not empty, not {key!r}")


def as_names(what: str, named: str | Iterable[str]) -> tuple[str, ...]:
    """One name or several, as several: a string would otherwise be read letter by letter.

    Raises:
        RequestError: for what is no name.

    >>> as_names("only", "arxiv")
    ('arxiv',)
    """
    if isinstance(named, str):
        return (named,)
    names = tuple(named) if isinstance(named, Iterable) and not isinstance(named, (bytes, bytearray)) else (named,)
    for name in names:
        if not isinstance(name, str):
            raise RequestError(f"{what} takes a name or a list of names, not {name!r}")
    return names


def as_uuid(text: str) -> str:
    """A request's id as it is written everywhere.

    Raises:
        RequestError: when it is none.
    """
    try:
        return str(uuid.UUID(str(text)))
    except ValueError as error:
        raise RequestError(f"a request_id is a UUID, and {text!r} is not one") from error


def stage_plan(stage: Stage, settings: Settings) -> StagePlan:
    """A declared stage as the ledger writes it."""
    return StagePlan(
        ref=stage.ref,
        name=stage.name,
        task=stage.task.name,
        queue=settings.queue,
        retries=settings.stage_retries,
        backoff_ms=int(settings.backoff_s * 1000),
        backoff_cap_ms=int(settings.backoff_cap_s * 1000),
    )


def run_plan(collector: Collector, name: str, required: bool, settings: Settings) -> RunPlan:
    """A declared collector's run as the ledger writes it."""
    timeout_s = settings.timeout_s if collector.timeout_s is None else collector.timeout_s
    return RunPlan(
        name=name,
        task=collector.task.name,
        queue=settings.queue,
        retries=settings.retries if collector.retries is None else collector.retries,
        timeout_ms=max(1, int(timeout_s * 1000)),
        backoff_ms=int(settings.backoff_s * 1000),
        backoff_cap_ms=int(settings.backoff_cap_s * 1000),
        required=required,
    )


def run_names(names: Iterable[str]) -> tuple[str, ...]:
    """Name the runs after their collectors; one that appears more than once gets its position.

    >>> run_names(["host", "dns", "host"])
    ('host[0]', 'dns', 'host[2]')
    """
    names = list(names)
    counts = Counter(names)
    return tuple(f"{name}[{i}]" if counts[name] > 1 else name for i, name in enumerate(names))


class Pack(msgspec.Struct, frozen=True):
    """The orders of several runs of one request that share a message: coroutines, or what is known to be short."""

    orders: tuple[Order, ...]
    on_loop: bool


def messages_of(plan: Plan, known_ms: Mapping[str, float], settings: Settings) -> list[tuple[int, ...]]:
    """Which runs share a message, by their numbers; a run that is not due yet has none.

    A message costs some milliseconds, whatever it is about. Runs that are known to take less share one, as many as
    are expected to end soon; coroutines do, because they need no worker to themselves. All that is long or unknown
    gets a message of its own, so that it spreads over all workers; so does a chord's member, which is a task's call.
    Where the first crash already is a run's last (``crash_cap=1``), code shares none: one would take the others along.

    Args:
        plan: The request's.
        known_ms: Run times as the ledger knows them, by task.
        settings: What a message costs, and how long a pack may be expected to take.

    Returns:
        Groups of run numbers, in the order asked; most runs are alone in theirs.
    """
    groups: list[tuple[int, ...]] = []
    short_ms = settings.message_s * 1000 if settings.crash_cap > 1 else -math.inf
    packing: dict[bool, _Packing] = {
        False: _Packing(settings.pack_s * 1000, SHORT_AT_ONCE),
        True: _Packing(math.inf, COROUTINES_AT_ONCE),
    }
    for number, run in enumerate(plan.runs):
        on_loop = run.task in plan.on_loop
        run_ms = known_ms.get(run.task, math.inf)
        if run.delay_ms:
            continue
        if run.call or not (on_loop or run_ms <= short_ms):
            groups.append((number,))
        else:
            groups += packing[on_loop].add(number, 0.0 if on_loop else run_ms)
    for one in packing.values():
        groups += one.rest()
    return sorted(groups)


class _Packing:
    """Puts runs together, until they are expected to take too long or are too many."""

    def __init__(self, most_ms: float, most: int) -> None:
        self._most_ms = most_ms
        self._most = most
        self._numbers: list[int] = []
        self._ms = 0.0

    def add(self, number: int, run_ms: float) -> list[tuple[int, ...]]:
        """Take a run; return the group before it, if that is full."""
        is_full = len(self._numbers) == self._most or self._ms + run_ms > self._most_ms
        full = self.rest() if is_full else []
        self._numbers.append(number)
        self._ms += run_ms
        return full

    def rest(self) -> list[tuple[int, ...]]:
        """What has been put together."""
        group, self._numbers, self._ms = tuple(self._numbers), [], 0.0
        return [group] if group else []


def first_orders(
    plan: Plan, request_id: str, priority: str, groups: Iterable[Sequence[int]] | None = None
) -> Iterator[Order | Pack]:
    """The messages that a newly opened request needs.

    Args:
        plan: The request's.
        request_id, priority: The request's.
        groups: Which runs share one, by their numbers; by default each has its own.
    """
    if groups is None:
        groups = ((number,) for number, run in enumerate(plan.runs) if not run.delay_ms)
    for numbers in groups:
        orders = tuple(_first_order(plan, number, request_id, priority) for number in numbers)
        yield orders[0] if len(orders) == 1 else Pack(orders, plan.runs[numbers[0]].task in plan.on_loop)


def _first_order(plan: Plan, number: int, request_id: str, priority: str) -> Order:
    run = plan.runs[number]
    return Order(
        request_id=request_id,
        ref=str(number),
        name=run.name,
        task=run.task,
        queue=run.queue,
        generation=1,
        delivery=1,
        topic=plan.topic,
        priority=run.priority or priority,
        call=plan.calls[str(number)] if run.call else "",
        time_left_ms=run.timeout_ms,
    )
