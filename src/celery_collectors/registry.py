"""What a project declares: collectors, stages and topic checks; and how their parameters are filled."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from typing import Any

import msgspec

from celery_collectors.errors import DeclarationError, NoCollectorError, TopicError
from celery_collectors.model import STAGES

FILLED_BY_NAME = ("topic", "request_id", "report")


class Collector(msgspec.Struct, frozen=True, kw_only=True):
    """The code and settings that read one source.

    Attributes:
        name: Unique in the project; the run's name.
        function: What was decorated.
        task: Its Celery task.
        topics: Globs of the topics it takes.
        timeout_s, retries: As declared; ``None`` leaves it to the settings.
    """

    name: str
    function: Callable[..., Any]
    task: Any
    topics: tuple[str, ...] = ("*",)
    timeout_s: float | None = None
    retries: int | None = None

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""
        return inspect.iscoroutinefunction(self.function) or inspect.isasyncgenfunction(self.function)

    def takes(self, topic: str) -> bool:
        """Whether one of its globs matches."""
        return any(fnmatchcase(topic, glob) for glob in self.topics)


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """The code of one stage; ``ref`` is ``gathering``, ``cleanup`` or ``process``."""

    ref: str
    function: Callable[..., Any]
    task: Any

    @property
    def name(self) -> str:
        """The function's own name."""
        return str(self.function.__name__)


class Registry:
    """Everything that one :class:`~celery_collectors.Collectors` has been told."""

    def __init__(self) -> None:
        self.collectors: dict[str, Collector] = {}
        self.stages: dict[str, Stage] = {}
        self._topic_checks: list[tuple[str, Callable[[str], str | None]]] = []
        self._by_task: dict[str, Collector] = {}

    def add_collector(self, collector: Collector) -> None:
        """Declare a collector.

        Raises:
            DeclarationError: when its name is taken, a parameter of it can't be filled, or a value can't be used.
        """
        _check_values(collector)
        if collector.name in self.collectors:
            raise DeclarationError(f"there are two collectors named {collector.name!r}; give one of them another name=")
        check_signature(collector.function, "collector", ("topic", "request_id"))
        self.collectors[collector.name] = collector

    def add_stage(self, stage: Stage) -> None:
        """Declare a stage.

        Raises:
            DeclarationError: when there is one already, or a parameter of it can't be filled.
        """
        if stage.ref in self.stages:
            raise DeclarationError(
                f"{self.stages[stage.ref].name!r} is the {stage.ref} stage already; {stage.name!r} can't be too"
            )
        if inspect.iscoroutinefunction(stage.function) or inspect.isasyncgenfunction(stage.function):
            raise DeclarationError(f"the {stage.ref} stage {stage.name!r} can't be async; declare a plain function")
        check_signature(stage.function, f"{stage.ref} stage", FILLED_BY_NAME)
        self.stages[stage.ref] = stage

    def add_topic_check(self, glob: str, check: Callable[[str], str | None]) -> None:
        """Declare a check for topics that match a glob."""
        self._topic_checks.append((glob, check))

    def stages_in_order(self) -> list[Stage]:
        """The declared stages, first to last."""
        return [self.stages[ref] for ref in STAGES if ref in self.stages]

    def topic(self, topic: str, *, max_chars: int) -> str:
        """Check a topic, and return it as the project wants it written.

        Raises:
            TopicError: when it is empty, too long, has control characters, or a declared check refuses it.
        """
        check_topic(topic, max_chars)
        for glob, check in self._topic_checks:
            if fnmatchcase(topic, glob):
                try:
                    checked = check(topic)
                except ValueError as error:
                    raise TopicError(f"the topic {topic!r} is malformed: {error}") from error
                topic = topic if checked is None else checked
                check_topic(topic, max_chars)
        return topic

    def select(self, topic: str, only: Sequence[str] = ()) -> list[Collector]:
        """The collectors for a topic, in the order declared; or just those named.

        Raises:
            NoCollectorError: when there is none, saying which there are.
        """
        for name in only:
            if name not in self.collectors:
                raise NoCollectorError(f"there is no collector {name!r}; there are {self._names()}")
            if not self.collectors[name].takes(topic):
                takes = ", ".join(self.collectors[name].topics)
                raise NoCollectorError(f"collector {name!r} takes topics like {takes}, not {topic!r}")
        found = [c for c in self.collectors.values() if (c.name in only if only else c.takes(topic))]
        if not found:
            globs = sorted({glob for c in self.collectors.values() for glob in c.topics})
            raise NoCollectorError(
                f"no collector takes the topic {topic!r}; those declared take {', '.join(globs)}"
                if globs
                else "no collectors are declared; decorate a function with @collectors.collector"
            )
        return found

    def find(self, run_name: str) -> Collector | None:
        """The collector that a run is named after: its own name, or with ``[i]`` where it appears several times."""
        return self.collectors.get(run_name) or self.collectors.get(run_name.rpartition("[")[0])

    def by_task(self) -> Mapping[str, Collector]:
        """The collectors by their tasks' names; which Celery gives them late, so not where they are declared."""
        if len(self._by_task) != len(self.collectors):
            self._by_task = {one.task.name: one for one in self.collectors.values()}
        return self._by_task

    def _names(self) -> str:
        return ", ".join(sorted(self.collectors)) or "none"


def check_topic(topic: object, max_chars: int) -> None:
    """Refuse what can't be a topic at all.

    Raises:
        TopicError: saying what is wrong with it.
    """
    if not isinstance(topic, str):
        raise TopicError(f"a topic is a string, not {type(topic).__name__}")
    if not topic.strip():
        raise TopicError("the topic is empty; ask for something, such as 'python' or 'airport:JFK'")
    if len(topic) > max_chars:
        raise TopicError(f"the topic has {len(topic)} characters, and {max_chars} is the limit; shorten it")
    if not topic.isprintable():
        raise TopicError("the topic has control or other unprintable characters; take them out")


def check_function(function: Any, what: str, name: str | None = None) -> None:
    """Refuse what Celery can't make a task of: it writes a function of the same name and parameters.

    Raises:
        DeclarationError: saying what to declare instead.

    >>> check_function(lambda topic: [topic], "collector")
    Traceback (most recent call last):
        ...
    celery_collectors.errors.DeclarationError: a collector is a function, def name(topic): …; this is a lambda
    """
    is_compiled = type(function).__name__ == "cython_function_or_method"
    is_function = inspect.isfunction(function) or inspect.ismethod(function) or is_compiled
    if not (is_function and function.__name__.isidentifier()):
        this = "a lambda" if is_function else f"of type {type(function).__name__}"
        parameter = "topic" if what == "collector" else "items"
        raise DeclarationError(f"a {what} is a function, def name({parameter}): …; this is {this}")
    if name is not None and not (isinstance(name, str) and name.isprintable()):
        raise DeclarationError(f"{what} {function.__name__!r}: name must be a string of printable characters")


def as_globs(topics: str | Sequence[str]) -> tuple[str, ...]:
    """One glob or several, as several.

    Raises:
        DeclarationError: for what is none.

    >>> as_globs("airport:*")
    ('airport:*',)
    """
    globs = (topics,) if isinstance(topics, str) else tuple(topics) if isinstance(topics, Iterable) else ()
    if not globs or not all(isinstance(glob, str) for glob in globs):
        raise DeclarationError(f"topics takes a glob or several, such as 'airport:*', not {topics!r}")
    return globs


def _check_values(collector: Collector) -> None:
    """Values that can't work are refused where they are written, not where a request meets them."""
    timeout_s, retries, named = collector.timeout_s, collector.retries, f"collector {collector.name!r}"
    if timeout_s is not None and not (_is_number(timeout_s) and 0 < timeout_s < math.inf):
        raise DeclarationError(f"{named}: timeout must be more than 0 seconds, not {timeout_s!r}")
    if retries is not None and not (_is_number(retries) and retries >= 0 and retries == int(retries)):
        raise DeclarationError(f"{named}: retries must be a whole number, 0 or more, not {retries!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_signature(function: Callable[..., Any], what: str, fillable: Iterable[str]) -> None:
    """Refuse a function whose parameters we could not fill.

    Raises:
        DeclarationError: naming the parameter.
    """
    name = getattr(function, "__name__", repr(function))
    parameters = _parameters(function)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in (*positional, inspect.Parameter.VAR_POSITIONAL):
        raise DeclarationError(f"the {what} {name!r} needs a first parameter, which gets the topic or the data")
    for parameter in parameters[1:]:
        variable = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if variable or parameter.default is not parameter.empty or parameter.name in fillable:
            continue
        raise DeclarationError(
            f"the {what} {name!r} wants {parameter.name!r}, which can't be filled in; beside the first parameter "
            f"there are {', '.join(fillable)}, and the rest is in celery_collectors.current()"
        )


@lru_cache(maxsize=1024)
def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """A declared function's parameters, looked up once: that takes 20 µs, and every attempt asks."""
    return tuple(inspect.signature(function).parameters.values())


def asks_for(function: Callable[..., Any], name: str) -> bool:
    """Whether one of a function's parameters after the first has this name."""
    return any(parameter.name == name for parameter in _parameters(function)[1:])


def fill(
    function: Callable[..., Any],
    first: Any,
    by_name: Mapping[str, Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Callable[[], Any]:
    """Bind a function's first parameter, and of the others those that it asks for by name.

    Args:
        function: What is to be called.
        first: Its first argument.
        by_name: What it may ask for.
        args, kwargs: What it is given in any case.

    >>> fill(lambda topic, request_id: f"{topic} {request_id}", "python", {"request_id": "42"})()
    'python 42'
    """
    parameters = _parameters(function)[1 + len(args) :]
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {p.name: by_name[p.name] for p in parameters if p.kind not in variable and p.name in by_name}
    return partial(function, first, *args, **named | dict(kwargs or {}))
