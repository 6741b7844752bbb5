"""The ``chord`` itself: takes what Celery's takes, and opens a request."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec
from celery import Celery, current_app, current_task
from celery.canvas import Signature
from celery.result import AsyncResult

from celery_collectors.canvas.here import run_here
from celery_collectors.canvas.members import callback_of, members_of
from celery_collectors.canvas.planning import NOT_GIVEN, ChordPlanner
from celery_collectors.canvas.result import ChordResult
from celery_collectors.collectors import Collectors, task_key
from celery_collectors.model import Policy
from celery_collectors.plan import Plan, as_names, as_uuid

_ASKED_OF_PARTS = ("get", "clone", "freeze", "options", "subtask_type", "task", "tasks")
"""What a group or chord of Celery's own asks of its parts, before it sends any."""


class chord:  # noqa: N801 - Celery's own name
    """Run tasks in parallel, and a callback with what arrived: ``chord(header, deadline=30)(callback)``.

    Takes the place of ``celery.chord``; the call has the same shape. Members and callback are sent as messages of
    their own tasks, which need no change. What is different: a member that fails, hangs or dies doesn't keep the
    callback from being called, by ``deadline`` at the latest; and it is called for good once.

    Args:
        header: A ``group``, or signatures; each a task or a chain of tasks. None at all is allowed.
        body: The callback's signature, if it is not given in the call.
        deadline: Seconds until collecting ends; by default ``deadline_s`` of the settings.
        finish: Seconds that the callback may take after that; by default ``finish_s``.
        min_ok: How many members must succeed.
        required: Names of members that must succeed; a member is named after its task, or ``name[i]`` by its position
            where a task appears more than once.
        first: Call the callback as soon as this many have succeeded.
        request_id: A UUID of your own for the request.
        missing: What the callback gets in the place of each member that failed; by default it gets the successes only.
        topic: What the request is about, for lists and reports; by default the callback's name.
        app: The Celery app; by default that of the tasks.

    Calling it (or :meth:`apply_async`, :meth:`delay`) returns a :class:`ChordResult`.

    Raises:
        TypeError: for what can't be a member or callback (nested chords and groups, chains as callback), or arguments
            that the task does not take; nothing was sent.
        RequestError: when the policy can't be met; nothing was sent.
        LedgerUnavailable: when the ledger does not answer; nothing was sent.

    >>> from celery import Celery, group
    >>> from celery_collectors import Collectors, chord
    >>> app = Celery("sums", task_always_eager=True)
    >>> collectors = Collectors(app)
    >>> @app.task
    ... def inverse(x):
    ...     return 1 / x
    >>> @app.task
    ... def total(values):
    ...     return sum(values)
    >>> chord(group(inverse.s(x) for x in [1, 0, 2]), deadline=30)(total.s()).get()
    1.5
    """

    def __init__(
        self,
        header: Any,
        body: Signature | None = None,
        *,
        deadline: float | None = None,
        finish: float | None = None,
        min_ok: int | None = None,
        required: Sequence[str] = (),
        first: int | None = None,
        request_id: str | None = None,
        missing: Any = NOT_GIVEN,
        topic: str | None = None,
        app: Celery | None = None,
    ) -> None:
        self._members = members_of(header)
        self.body = body
        self._app = app
        self._times = (deadline, finish)
        self._min_ok = min(1, len(self._members)) if min_ok is None else min_ok
        self._required = as_names("required", required)
        self._first = first
        self._request_id = request_id
        self._missing = missing
        self._topic = topic

    def __call__(self, body: Signature | None = None, **options: Any) -> AsyncResult:
        """Send it off, with this callback."""
        return self.apply_async(body=body, **options)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Send it off; the arguments go to every member, before its own."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        body: Signature | None = None,
        task_id: str | None = None,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> AsyncResult:
        """Send it off.

        Args:
            args, kwargs: Go to every member, the positional ones before its own.
            body: The callback, if it was not given before.
            task_id: The id under which the result is to be found; by default the request's.
            link, link_error: Called after its end, like those of the callback.
            options: Of every member that has none of its own: ``countdown``, ``queue``, ``priority``, …
        """
        callback = callback_of(self.body if body is None else body, link=link, link_error=link_error)
        app = self._app or callback.app or current_app
        members = [member.with_more(args, kwargs or {}, options) for member in self._members]
        planner = ChordPlanner(Collectors.of(app), members, callback)
        policy = Policy(min_ok=self._min_ok, required=self._required, first=self._first)
        request_id = str(uuid.uuid4()) if self._request_id is None else as_uuid(str(self._request_id))
        plan = planner.plan(
            policy,
            topic=self._topic,
            missing=self._missing,
            result_id=task_id or request_id,
            deadline_s=planner.collectors.times(*self._times)[0],
        )
        if app.conf.task_always_eager:
            return run_here(planner, plan, request_id=request_id, missing=self._missing)
        return self._open(planner.collectors, plan, request_id, task_id)

    def _open(self, collectors: Collectors, plan: Plan, request_id: str, task_id: str | None) -> ChordResult:
        deadline_s, finish_s = collectors.times(*self._times)
        key = task_key(lambda: _question(plan, request_id))
        request_id = collectors.client.ask(
            plan,
            deadline_s=deadline_s,
            finish_s=finish_s,
            messages=collectors.settings.messages,
            request_id=request_id,
            key=key,
        )
        return ChordResult(task_id or request_id, collectors=collectors, request_id=request_id)

    def link(self, signature: Signature) -> Signature:
        """Let this be called with the callback's result."""
        return self._callback().link(signature)

    def link_error(self, errback: Signature) -> Signature:
        """Let this be called once when the policy is not met, or the callback fails."""
        return self._callback().link_error(errback)

    def on_error(self, errback: Signature) -> chord:
        """As :meth:`link_error`, for writing one call after another."""
        self.link_error(errback)
        return self

    def _callback(self) -> Signature:
        if self.body is None:
            raise TypeError("this chord has no callback yet; give it as chord(header, callback)")
        return self.body

    def __or__(self, _other: Any) -> NoReturn:
        raise TypeError("a chord can't be followed by '|'; give what follows as link= of its callback")

    def __ror__(self, _other: Any) -> NoReturn:
        raise TypeError("a chord can't be part of a chain or group; let a task before it open it")

    def __getattr__(self, name: str) -> NoReturn:
        if name in _ASKED_OF_PARTS:
            raise TypeError("a chord can't be part of a chain or group; let a task before it open it")
        raise AttributeError(f"a chord has no {name!r}")

    def __iter__(self) -> NoReturn:
        raise TypeError("a chord can't be part of a chain or group; let a task open it")

    def __repr__(self) -> str:
        return f"<chord of {len(self._members)}, then {self.body!r}>"


def _question(plan: Plan, request_id: str) -> bytes:
    """What makes this chord another than those that the same task opens beside it.

    An id that was made up for it is no part of that: a second delivery of the task makes up another. Nor is how long it
    still is until a member's time.
    """
    timeless = [msgspec.structs.replace(run, delay_ms=None, expires_ms=None, timeout_ms=0) for run in plan.runs]
    asked = msgspec.structs.replace(plan, runs=tuple(timeless))
    question = msgspec.json.encode(asked)
    for form in (request_id, request_id.replace("-", "")):  # as a UUID object is encoded
        question = question.replace(form.encode(), b"")
    if not current_task:
        return question
    before: Counter[bytes] = current_task.request.__dict__.setdefault("collectors_chords", Counter())
    before[question] += 1
    return b"%d %s" % (before[question], question)
