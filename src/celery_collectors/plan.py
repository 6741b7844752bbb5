"""Topic + registry + policy → the runs and stages of a request. Pure functions."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from celery_collectors.errors import PolicyError, RequestError
from celery_collectors.ledger import LinkPlan, Order, RunPlan, StagePlan
from celery_collectors.model import Policy
from celery_collectors.registry import Collector, Registry, Stage
from celery_collectors.settings import Settings


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a request will consist of; of a chord also its stored calls by ref, its links, and its result's task id."""

    topic: str
    runs: tuple[RunPlan, ...]
    stages: tuple[StagePlan, ...]
    policy: Policy
    calls: Mapping[str, str] = {}
    links: tuple[LinkPlan, ...] = ()
    result_id: str | None = None

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


def first_orders(plan: Plan, request_id: str, priority: str) -> Iterator[Order]:
    """The messages that a newly opened request needs: one for each run that is due at once."""
    for number, run in enumerate(plan.runs):
        if run.delay_ms:
            continue
        yield Order(
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
