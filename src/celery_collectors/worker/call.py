"""Executing a call: a member, callback or link of a chord, which may be any task of the app.

It runs under Celery's own tracer, in the pool's own thread, so that its base class, its binding, its time limits and
its handlers are what they are without us. What is added: the ledger is asked before, and told after.
"""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from billiard.einfo import ExceptionInfo
from celery import states
from celery.app.trace import TraceInfo, trace_ok_t
from celery.exceptions import Ignore, Retry
from celery.result import allow_join_result

from celery_collectors.calls import decode_call, encode_call, seconds_until
from celery_collectors.context import entered
from celery_collectors.dispatch import HEADER, order_of
from celery_collectors.errors import CollectError, LedgerUnavailable, TimedOut
from celery_collectors.ledger import Grant
from celery_collectors.model import Report
from celery_collectors.payloads import encode_value
from celery_collectors.worker.attempt import Attempt, answered, describe, failed, for_celery
from celery_collectors.worker.data import data_of, wants_report
from celery_collectors.worker.fetch import context_of, fetch, payload_writer, settle
from celery_collectors.worker.process import Process, Runtime

log = logging.getLogger(__name__)

Trace = Callable[..., Any]
LIMIT_TOLERANCE_S = 0.2  # this process's clock starts later than that of the main process
SIGNALLED = range(-256, -191)  # the exit codes by which billiard ends a child that was sent a signal


def traced(runtime: Runtime, task: Any, trace: Trace) -> Trace:
    """A task's tracer that heeds our messages, and leaves all others to the one it stands for."""

    def trace_call(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        order = order_of((request or {}).get(HEADER), uuid)
        if order is None:
            return trace(uuid, args, kwargs, request)
        process = runtime.here()
        with process.soft_limit.held_off():
            return _execute(process, task, order, lambda *call: trace(uuid, *call), (args, kwargs, request))

    trace_call.ledger_heeded = True  # type: ignore[attr-defined]
    return trace_call


def heed(runtime: Runtime, is_ours: Callable[[Any], bool]) -> None:
    """Let every task of the app that is not ours heed our messages, in this process."""
    for task in runtime.app.tasks.values():
        trace = task.__trace__
        if trace is not None and not is_ours(task) and not hasattr(trace, "ledger_heeded"):
            task.__trace__ = traced(runtime, task, trace)  # anew after every reconnect, as Celery builds it anew
            if not hasattr(task.on_replace, "ledger_heeded"):
                task.on_replace = replacing(task, task.on_replace)


class Replaced(Ignore):  # type: ignore[misc]
    """A task had itself replaced; carries what the other came to. Celery, too, raises an ``Ignore`` then."""

    def __init__(self, value: Any) -> None:
        super().__init__("replaced by another task")
        self.value = value


def replacing(task: Any, theirs: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A task's ``on_replace`` that runs the other task in its place, if our message is what it runs for."""

    def on_replace(signature: Any) -> Any:
        if order_of(task.request.get(HEADER), task.request.id) is None:
            return theirs(signature)
        with allow_join_result():
            raise Replaced(theirs(signature))  # which runs it here, as for everything that is eager

    on_replace.ledger_heeded = True  # type: ignore[attr-defined]
    return on_replace


def _execute(process: Process, task: Any, order: Mapping[str, Any], trace: Trace, call: tuple[Any, Any, Any]) -> Any:
    began = time.monotonic()
    grant = fetch(process, order)
    if grant is None:
        return trace_ok_t(None, None, 0.0, "None")
    try:
        with process.in_own_thread(call[2]["id"], grant.ends_in_ms / 1000) as told:
            process.keeper.hold(grant.held, told)
            given = _with_data(process, task, grant, order, call)
            with entered(context_of(grant)), process.soft_limit.let_in():
                ended = trace(*given[1:])
        attempt = _attempt(process, task, grant, ended, given)
    except LedgerUnavailable:
        process.keeper.drop(grant.held)
        return _shown_as(CollectError("the ledger is away, and the run goes on when it is back"))
    except BaseException as error:
        if not _is_outcome(error):
            if _at_hard_limit(call[2], time.monotonic() - began):
                settle(process, grant, failed(TimedOut("ran into its hard time limit"), 0.0))
            raise  # a signal ends this process, which hands back what it holds
        settle(process, grant, failed(error, 0.0))
        return _shown_as(for_celery(error))
    settle(process, grant, attempt)
    if isinstance(attempt.cause, MemoryError):
        return _shown_as(for_celery(attempt.cause))
    return ended


def _shown_as(error: Exception) -> Any:
    """A failure as the tracer returns it; to raise it would end a solo worker."""
    try:
        raise error
    except Exception:  # noqa: BLE001 - it is ours
        return trace_ok_t(ExceptionInfo(), TraceInfo(states.FAILURE, error), 0.0, None)


class Given(NamedTuple):
    """A call with its data in place, as the tracer takes it."""

    data: tuple[Any, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    request: dict[str, Any]


def _with_data(
    process: Process, task: Any, grant: Grant, order: Mapping[str, Any], call: tuple[Any, Any, Any]
) -> Given:
    args, kwargs, request = call
    data = data_of(process, process.reader, grant, order)
    args, kwargs = (*data, *args[len(data) :]), dict(kwargs)
    if grant.ref == "gathering" and wants_report(task.run, args, kwargs):
        kwargs["report"] = process.reader.report(grant.request_id)
    # Eager means to Celery: what a task asks for (to be tried again, to be replaced) is done by the caller. That is
    # the ledger here, and not a message of Celery's.
    return Given(data, args, kwargs, {**request, "args": args, "kwargs": kwargs, "is_eager": True})


def _attempt(process: Process, task: Any, grant: Grant, ended: Any, given: Given) -> Attempt:
    run_s = ended.runtime or 0.0
    if ended.info is None:
        return _answered(process, grant, ended.retval, run_s)
    cause = ended.info.retval
    if isinstance(cause, Replaced):
        return _answered(process, grant, cause.value, run_s)
    return _again(process, task, grant, cause, given) if isinstance(cause, Retry) else failed(cause, run_s)


def _answered(process: Process, grant: Grant, returned: Any, run_s: float) -> Attempt:
    """The attempt that ended with what a task returned; a list counts its items, and an empty one is empty."""
    media, data = encode_value(returned, process.runtime.app.conf.result_serializer)
    items = len(returned) if isinstance(returned, (list, tuple)) else int(returned is not None)
    with process.ledger.answering():
        value = payload_writer(process, grant).single(media, data, items)
    if items or returned is None or not grant.ref.isdigit():
        return Attempt(state="ok", value=value, run_s=run_s)
    return answered(value, run_s)


def _again(process: Process, task: Any, grant: Grant, retry: Retry, given: Given) -> Attempt:
    """``self.retry()``, or ``autoretry_for``: the task has said when, and perhaps with what."""
    cause = retry.exc if isinstance(retry.exc, BaseException) else retry
    pause_s = 0.0 if retry.when is None else max(0.0, seconds_until(retry.when, datetime.now(UTC)))
    call = _changed_call(process, task, grant, retry.sig, given) if retry.sig is not None else ""
    return Attempt(state="failed", error=describe(cause), cause=cause, again_s=pause_s, call=call)


def _changed_call(process: Process, task: Any, grant: Grant, asked: Any, given: Given) -> str:
    """The run's call with the arguments that it asked to be tried again with; empty if they are what they were.

    Raises:
        TypeError: for arguments that the task does not take.
    """
    data, args, kwargs, _ = given
    same = len(asked.args) == len(args) and all(map(operator.is_, asked.args, args))
    if same and asked.kwargs.keys() == kwargs.keys() and all(asked.kwargs[name] is kwargs[name] for name in kwargs):
        return ""
    steps = decode_call(process.runtime.app, process.ledger.call_of(grant.held))
    step = steps[grant.step]
    if len(asked.args) < len(data) or not all(map(operator.is_, asked.args, data)):
        data, step["immutable"] = (), True  # it says itself what it gets instead
    step["args"] = tuple(asked.args[len(data) :])
    step["kwargs"] = {name: value for name, value in asked.kwargs.items() if not isinstance(value, Report)}
    if grant.ref == "gathering" and wants_report(task.run, asked.args, step["kwargs"]):
        step["kwargs"]["report"] = None
    if task.typing:
        task.__header__(*asked.args, **step["kwargs"])
    return encode_call(process.runtime.app, steps)


def _at_hard_limit(request: Mapping[str, Any], run_s: float) -> bool:
    """Whether the signal that ends this process is that of the task's hard time limit.

    Celery's main process sends SIGTERM then, and SIGKILL 0.1 s later. In between this process would hand the run back,
    to be run again, if the main process has not yet told the ledger why.
    """
    limit_s: float | None = (request.get("timelimit") or (None,))[0]
    return limit_s is not None and run_s >= limit_s - LIMIT_TOLERANCE_S


def _is_outcome(error: BaseException) -> bool:
    """Whether it is what the task's code came to, whatever that is, as against the end of this process."""
    return not (isinstance(error, SystemExit) and isinstance(error.code, int) and error.code in SIGNALLED)
