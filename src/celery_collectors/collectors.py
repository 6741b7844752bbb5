"""The facade: :class:`Collectors` declares collectors on a Celery app and asks for topics."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

import msgspec
from celery import Celery, current_task
from kombu.exceptions import OperationalError

from celery_collectors.client import Client
from celery_collectors.dispatch import PACK_TASK, PRIORITIES
from celery_collectors.errors import (
    BrokerUnavailable,
    DeclarationError,
    IdempotencyError,
    NoLedgerError,
    RequestError,
    RequestUnknown,
)
from celery_collectors.events import Hook
from celery_collectors.explain import Explanation, explain
from celery_collectors.handle import Request
from celery_collectors.ledger import WorkerBeat
from celery_collectors.ledger.finding import Page, Summary, Wanted
from celery_collectors.ledger.tally import Tally, tally
from celery_collectors.local import run_local
from celery_collectors.model import Outcome, Policy, Report
from celery_collectors.plan import Plan, as_names, as_uuid, check_key, check_times, check_word, make_plan
from celery_collectors.registry import Collector, Registry, Stage, as_globs, check_function
from celery_collectors.settings import Settings, is_redis_url
from celery_collectors.worker.boot import install
from celery_collectors.worker.process import Runtime
from celery_collectors.worker.sweeper import Sweeper
from celery_collectors.worker.task import CollectorsTask

F = TypeVar("F", bound=Callable[..., Any])
ATTRIBUTE = "celery_collectors"
LATELY_RUNS = 20_000


class Collectors:
    """Everything this package does for one Celery app.

    A guest in the app: its tasks, settings and queues stay as they are. Nothing is read or connected
    before the first use.

    Args:
        app: The Celery app; its broker is used.
        ledger: URL of the Redis or Valkey that holds the ledger; by default the ``ledger`` setting, else the
            app's result backend if that is Redis.
        hooks: Called with every :class:`~celery_collectors.events.Event` of this process.
        settings: Any field of :class:`~celery_collectors.settings.Settings`.

    Raises:
        DeclarationError: when the app has a ``Collectors`` already.

    >>> from celery import Celery
    >>> collectors = Collectors(Celery("news"), deadline_s=10)
    >>> @collectors.collector
    ... def echo(topic):
    ...     return [topic]
    >>> collectors.run_local("python").outcomes["echo"].items
    1
    """

    def __init__(self, app: Celery, *, ledger: str | None = None, hooks: Sequence[Hook] = (), **settings: Any) -> None:
        if not isinstance(app, Celery):
            raise DeclarationError(f"Collectors(app) takes a Celery app, not {app!r}")
        if getattr(app, ATTRIBUTE, None) is not None:
            raise DeclarationError(f"the app {app.main!r} has a Collectors already; use Collectors.of(app)")
        self.app = app
        self.registry = Registry()
        self._task_names: set[str] = set()
        self._overrides = {**settings, "ledger": ledger}
        self._by_pid: dict[int, Client] = {}
        self._runtime = Runtime(
            app,
            self.registry,
            settings=lambda: self.settings,
            ledger_url=lambda: self.ledger_url,
            hooks=hooks,
        )
        install(self._runtime, lambda task: isinstance(task, CollectorsTask))
        app.task(name=PACK_TASK, base=CollectorsTask, shared=False, collectors_runtime=self._runtime)(pack)
        setattr(app, ATTRIBUTE, self)

    @classmethod
    def of(cls, app: Celery) -> Collectors:
        """Return the ``Collectors`` of an app.

        Raises:
            DeclarationError: when it has none.
        """
        found = getattr(app, ATTRIBUTE, None)
        if not isinstance(found, cls):
            raise DeclarationError(f"the app {app.main!r} has no Collectors; write collectors = Collectors(app)")
        return found

    @cached_property
    def settings(self) -> Settings:
        """The settings, read on first use."""
        return Settings.load(self._overrides, app_name=self.app.main)

    def configure(self, **settings: Any) -> None:
        """Change settings after the fact, as tests and programs with a configuration of their own do.

        Connections of this process are closed, and opened again with the new settings.

        Args:
            settings: Any field of :class:`~celery_collectors.settings.Settings`; ``None`` takes a setting back.

        Raises:
            SettingsError: for an unknown setting, or a value that can't be used; nothing is changed then.
        """
        overrides = {**self._overrides, **settings}
        loaded = Settings.load(overrides, app_name=self.app.main)
        self.close()
        self._runtime.forget()
        self._overrides = overrides
        self.__dict__["settings"] = loaded

    @property
    def ledger_url(self) -> str:
        """Where the ledger is.

        Raises:
            NoLedgerError: when no Redis or Valkey is configured.
        """
        if named := self.settings.forced_ledger or self.settings.ledger:
            return named
        backend = self.app.conf.result_backend
        if is_redis_url(backend):
            return str(backend)
        raise NoLedgerError(
            "there is no ledger: give Collectors(app, ledger='redis://…'), set COLLECTORS_LEDGER, or use a Redis "
            f"result backend (it is {backend!r}); 'collectors collect' starts an embedded one"
        )

    # Declaring ------------------------------------------------------------------------------------

    def collector(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        topics: str | Sequence[str] = "*",
        timeout: float | None = None,
        retries: int | None = None,
        **task_options: Any,
    ) -> Any:
        """Declare a subcollector: a function or coroutine function that takes a topic and gives items.

        Args:
            name: Its name in requests and reports; by default the function's.
            topics: Glob or globs of the topics that it takes; by default all.
            timeout: Seconds for one attempt; by default ``timeout_s`` of the settings.
            retries: Further attempts after a failed one; by default ``retries`` of the settings.
            task_options: Passed to ``app.task``.

        Returns:
            A Celery task; calling it plainly runs the function.

        Raises:
            DeclarationError: for a name that is taken, a value that can't be used, or a parameter that can't be filled.

        >>> from celery import Celery
        >>> collectors = Collectors(Celery("news"))
        >>> @collectors.collector(topics="airport:*", timeout=10, retries=2)
        ... def runways(topic):
        ...     yield {"airport": topic, "length_m": 3682}
        >>> len(list(runways("airport:JFK")))
        1
        """

        def declare(function: Callable[..., Any]) -> Any:
            check_function(function, "collector", name)
            run_name = name or function.__name__
            task = self._task(function, run_name, name=run_name, **task_options)
            self.registry.add_collector(
                Collector(
                    name=run_name,
                    function=function,
                    task=task,
                    topics=as_globs(topics),
                    timeout_s=timeout,
                    retries=retries,
                )
            )
            return task

        return declare if function is None else declare(function)

    def gathering(self, function: F) -> Any:
        """Declare the gathering stage: one list of items per run that answered → items.

        Raises:
            DeclarationError: when there is one already, or a parameter can't be filled.
        """
        return self._stage("gathering", function)

    def cleanup(self, function: F) -> Any:
        """Declare the cleanup stage: an iterator over all items → cleaned items, best as a generator.

        Raises:
            DeclarationError: when there is one already, or a parameter can't be filled.
        """
        return self._stage("cleanup", function)

    def process(self, function: F) -> Any:
        """Declare the process stage: an iterator over the cleaned items → a small value, the request's result.

        Raises:
            DeclarationError: when there is one already, or a parameter can't be filled.
        """
        return self._stage("process", function)

    def topic(self, glob: str) -> Callable[[F], F]:
        """Declare a check for topics that match a glob.

        The function gets a topic and returns it as it should be written; a ``ValueError`` refuses it, with
        its message shown to whoever asked.

        >>> from celery import Celery
        >>> collectors = Collectors(Celery("news"))
        >>> @collectors.topic("airport:*")
        ... def airport(topic):
        ...     return topic.upper().replace("AIRPORT", "airport")
        """

        def declare(function: F) -> F:
            self.registry.add_topic_check(glob, function)
            return function

        return declare

    def _stage(self, ref: str, function: F) -> Any:
        check_function(function, f"{ref} stage")
        task = self._task(function, ref, name=function.__name__)
        self.registry.add_stage(Stage(ref=ref, function=function, task=task))
        return task

    def _task(self, function: Callable[..., Any], ref: str, *, name: str, **options: Any) -> Any:
        # Named after the collector, not its function: a loop may declare one function several times.
        task_name = self.app.gen_task_name(name, function.__module__)
        if task_name in self._task_names:
            raise DeclarationError(f"{task_name} is declared twice; give one of the two another name=")
        self._task_names.add(task_name)
        ours = {"base": CollectorsTask, "collectors_runtime": self._runtime, "collectors_ref": ref, "name": task_name}
        # Not shared: Celery would otherwise register it with every other app of the process, too.
        return self.app.task(shared=False, **options | ours)(function)

    # Asking ---------------------------------------------------------------------------------------

    def request(
        self,
        topic: str,
        *,
        deadline: float | None = None,
        finish: float | None = None,
        min_ok: int = 1,
        required: Sequence[str] = (),
        first: int | None = None,
        only: Sequence[str] = (),
        key: str | None = None,
        request_id: str | None = None,
        priority: str = "normal",
        messages: str | None = None,
    ) -> Request:
        """Ask for a topic: open a request in the ledger, and call the workers.

        Accepted is not lost: the request is in the ledger before anything is sent, and while the broker is
        away it waits there.

        Args:
            topic: What is asked for.
            deadline: Seconds until collecting ends.
            finish: Seconds that the stages may take after that.
            min_ok: How many subcollectors must answer.
            required: Names of subcollectors that must answer.
            first: End collecting as soon as this many answered.
            only: Ask just these subcollectors.
            key: Idempotency key: the same key gives the same request. Inside a task it defaults to the task's
                id and the question, so that a task delivered twice opens one request.
            request_id: A UUID of your own for the request. With a key, that belongs to this id alone.
            priority: ``low``, ``normal`` or ``high``.
            messages: ``auto`` or ``each``; by default that of the settings.

        Returns:
            The request's handle.

        Raises:
            RequestError: when the question can't be asked; nothing was sent.
            LedgerUnavailable: when the ledger does not answer; nothing was sent.
        """
        deadline_s, finish_s = self.times(deadline, finish)
        check_word("priority", priority, PRIORITIES)
        check_word("messages", messages or self.settings.messages, ("auto", "each"))
        check_key(key)
        plan = self._plan(topic, Policy(min_ok=min_ok, required=as_names("required", required), first=first), only)
        asked_id = None if request_id is None else as_uuid(request_id)
        if key is not None and asked_id is not None and self.client.ledger.reserve(key, asked_id) != asked_id:
            raise IdempotencyError(f"the key {key!r} belongs to another request; give a new question a new key")
        request_id = self.client.ask(
            plan,
            deadline_s=deadline_s,
            finish_s=finish_s,
            messages=messages or self.settings.messages,
            priority=priority,
            request_id=asked_id,
            key=None if asked_id is not None else key or task_key(lambda: msgspec.json.encode(plan)),
        )
        return Request(request_id, self.client)

    def explain(
        self,
        topic: str,
        *,
        min_ok: int = 1,
        required: Sequence[str] = (),
        first: int | None = None,
        only: Sequence[str] = (),
        messages: str | None = None,
    ) -> Explanation:
        """Tell what :meth:`request` would make of the same question, and ask nothing.

        Takes what it takes, as far as the plan depends on it. Run times are an average over the ledger's shards,
        each of which learns by itself.

        Raises:
            RequestError: when the question can't be asked.
            LedgerUnavailable: when the ledger, which knows how long runs take, does not answer.
        """
        check_word("messages", messages or self.settings.messages, ("auto", "each"))
        plan = self._plan(topic, Policy(min_ok=min_ok, required=as_names("required", required), first=first), only)
        known_ms = self.client.run_times()
        return explain(plan, known_ms, self.settings, messages=messages or self.settings.messages)

    def _plan(self, topic: str, policy: Policy, only: Sequence[str]) -> Plan:
        return make_plan(self.registry, topic, policy=policy, settings=self.settings, only=as_names("only", only))

    def times(self, deadline: float | None, finish: float | None) -> tuple[float, float]:
        """The seconds for collecting, and for the stages after that.

        Raises:
            PolicyError: for what can't be a time.
        """
        check_times(deadline, finish)
        return (
            self.settings.deadline_s if deadline is None else deadline,
            self.settings.finish_s if finish is None else finish,
        )

    def run_local(
        self,
        topic: str,
        *,
        deadline: float | None = None,
        finish: float | None = None,
        min_ok: int = 1,
        required: Sequence[str] = (),
        first: int | None = None,
        only: Sequence[str] = (),
    ) -> Report:
        """Ask for a topic in this process: no broker, no ledger, the same rules; for tests and notebooks.

        Takes what :meth:`request` takes, and returns the final report.

        Raises:
            RequestError: when the question can't be asked.
        """
        deadline_s, finish_s = self.times(deadline, finish)
        plan = self._plan(topic, Policy(min_ok=min_ok, required=as_names("required", required), first=first), only)
        return run_local(
            self.registry,
            plan,
            self.settings,
            deadline_s=deadline_s,
            finish_s=finish_s,
            hooks=self._runtime.hooks,
        )

    def get(self, request_id: str) -> Request:
        """Return the handle of a request that was opened somewhere, some time.

        Raises:
            RequestUnknown: when the ledger does not hold it.
            RequestError: for what is no string.
        """
        if not isinstance(request_id, str):
            raise RequestError(f"a request's id is a string, not {request_id!r}")
        handle = Request(request_id, self.client)
        if handle.state == "unknown":
            raise RequestUnknown(request_id)
        return handle

    def list(
        self,
        limit: int = 20,
        cursor: str | None = None,
        *,
        topic: str | None = None,
        state: str | Sequence[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Page:
        """Return the newest requests, and a cursor to go on from.

        With a filter a page may be shorter than ``limit`` although there are more: the cursor says so.

        Args:
            limit: How many at most.
            cursor: From the page before.
            topic: Only topics that match this glob.
            state: Only requests in this state, or one of these.
            since, until: Only requests opened between these times; a retry opens a request again.
        """
        wanted = Wanted(topic=topic, states=frozenset(as_names("state", state)), since=since, until=until)
        return self.client.reader.page(
            limit,
            cursor,
            wanted=wanted.takes if wanted else None,
            since_ms=since.timestamp() * 1000 if since else 0.0,
        )

    def tallies(self, newest: int = 100) -> Mapping[str, Tally]:
        """Return how each declared collector did in the newest requests, by its name.

        Args:
            newest: How many requests to count.
        """
        found = {one.request_id: outcomes for one, outcomes in self.lately(newest)}
        return {name: tally(name, found) for name in self.registry.collectors}

    def lately(self, newest: int = 100) -> Sequence[tuple[Summary, Mapping[str, Outcome]]]:
        """Return the newest requests with the outcomes of their runs, as many as have 20,000 runs together at most.

        Args:
            newest: How many requests.
        """
        found = self.list(newest).requests
        totals = accumulate(one.runs for one in found)
        found = [one for one, total in zip(found, totals, strict=True) if total <= LATELY_RUNS]
        return list(zip(found, self.client.reader.outcomes([one.request_id for one in found]), strict=True))

    def workers(self) -> Sequence[WorkerBeat]:
        """Return the workers that reported themselves in the last quarter of a minute, by name."""
        return self.client.reader.workers()

    def end_worker(self, name: str) -> None:
        """Ask a worker to end what it runs, and then itself; what keeps it running starts it again.

        Args:
            name: As :meth:`workers` has it.

        Raises:
            BrokerUnavailable: when it can't be asked.
        """
        try:
            with self.app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0.1, interval_max=0.1)
                self.app.control.shutdown(destination=[name], connection=connection)
        except (OperationalError, OSError) as error:
            raise BrokerUnavailable(f"{name} can't be asked, because the broker does not answer: {error}") from error

    def sweeper(self) -> Sweeper:
        """A thread that does what is due, as every worker has one: start it, and stop it."""
        return Sweeper(self._runtime.here(), None)

    def close(self) -> None:
        """Close this process's client connections; they open again when needed."""
        if client := self._by_pid.pop(os.getpid(), None):
            client.close()

    @property
    def client(self) -> Client:
        """This process's connections as one that asks."""
        pid = os.getpid()
        return self._by_pid.get(pid) or self._by_pid.setdefault(pid, Client(self.app, self.ledger_url, self.settings))


def pack(topic: str, **_about: str) -> None:
    """The task whose message calls for several runs at once; only our own messages mean anything to it.

    Raises:
        RequestError: when it is called otherwise.
    """
    raise RequestError(f"{PACK_TASK} is sent by celery-collectors itself; ask with collectors.request({topic!r})")


def task_key(question: Callable[[], bytes]) -> str | None:
    """Inside a task: its id and the question, so that a second delivery finds the first one's request.

    What a task does when it is tried again is not a second delivery.

    Args:
        question: Puts into words what is asked; called inside a task only.
    """
    if not current_task or not current_task.request.id:
        return None
    request = current_task.request
    return f"{request.id}:{request.retries or 0}:{hashlib.sha256(question()).hexdigest()[:16]}"
