"""A chord under ``task_always_eager``: one member after another, in this process, without servers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import anyio
from celery.result import EagerResult
from msgspec.structs import replace

from celery_collectors.canvas.members import Member
from celery_collectors.canvas.planning import NOT_GIVEN, ChordPlanner
from celery_collectors.dispatch.messages import takes_error
from celery_collectors.dispatch.results import celery_error, celery_state
from celery_collectors.model import ErrorInfo, Outcome, Report, RequestState, RunState
from celery_collectors.plan import Plan
from celery_collectors.registry import fill
from celery_collectors.worker.attempt import as_items, describe, is_async_items
from celery_collectors.worker.data import wants_report


class EagerChordResult(EagerResult):  # type: ignore[misc]
    """The result of a chord that ran here and now; it has what :class:`ChordResult` has."""

    def __init__(self, report: Report, value: Any) -> None:
        super().__init__(report.request_id, value, celery_state(report))
        self.request_id = report.request_id
        self._report = report

    def report(self) -> Report:
        """Return every member's outcome."""
        return self._report


class Ended(NamedTuple):
    """How a member ended: a value, or an error."""

    value: Any = None
    error: BaseException | None = None

    @property
    def items(self) -> int:
        """As the worker counts them."""
        return len(self.value) if isinstance(self.value, (list, tuple)) else int(self.value is not None)


def run_here(planner: ChordPlanner, plan: Plan, *, request_id: str, missing: Any) -> EagerChordResult:
    """Run a planned chord here and now."""
    created_at = datetime.now(UTC)
    ended = [_run(planner, member) for member in planner.members]
    answered = [name for name, one in zip(planner.names, ended, strict=True) if one.error is None]
    required_open = len(set(plan.policy.required) - set(answered))
    met = plan.policy.is_met(answered=len(answered), required_open=required_open)
    report = Report(
        request_id=request_id,
        topic=plan.topic,
        state=_state(met, len(ended) - len(answered)),
        created_at=created_at,
        finished_at=datetime.now(UTC),
        outcomes={name: _outcome(one) for name, one in zip(planner.names, ended, strict=True)},
        error=None if met else _not_met(len(answered), plan),
    )
    if not met:
        return _failed(planner, report)
    instead = [] if missing is NOT_GIVEN else [missing]
    results = [value for one in ended for value in ([one.value] if one.error is None else instead)]
    return _call_back(planner, report, results)


def _run(planner: ChordPlanner, member: Member) -> Ended:
    value: Any = None
    for position, step in enumerate(member.steps):
        ended = step.apply((value,) if position else (), throw=False)
        if not ended.successful():
            return Ended(error=ended.result)
        try:
            value = _listed(ended.result) if planner.is_collector(step) else ended.result
        except Exception as error:  # noqa: BLE001 - a generator's code, which runs only now
            return Ended(error=error)
    return Ended(value)


def _listed(returned: Any) -> list[Any]:
    """A collector's items, as the callback gets them."""

    async def collected() -> list[Any]:
        return [item async for item in returned]

    return anyio.run(collected) if is_async_items(returned) else list(as_items(returned))


def _outcome(ended: Ended) -> Outcome:
    if ended.error is not None:
        return Outcome(state=RunState.FAILED, attempts=1, error=describe(ended.error))
    empty = not ended.items and ended.value is not None
    return Outcome(state=RunState.EMPTY if empty else RunState.OK, attempts=1, items=ended.items)


def _state(met: bool, missing: int) -> RequestState:
    if not met:
        return RequestState.FAILED
    return RequestState.PARTIAL if missing else RequestState.COMPLETE


def _not_met(answered: int, plan: Plan) -> ErrorInfo:
    message = f"{answered} answered, and the policy asks for min_ok={plan.policy.min_ok}"
    if plan.policy.required:
        message += f" and required={', '.join(plan.policy.required)}"
    return ErrorInfo(type="PolicyNotMet", kind="transient", message=message, retryable=True)


def _call_back(planner: ChordPlanner, report: Report, results: list[Any]) -> EagerChordResult:
    try:
        value = _stages(planner, report, results) if planner.stage else _called(planner, report, results)
    except Exception as error:  # noqa: BLE001 - the boundary of the callback's code
        return _failed(planner, replace(report, state=RequestState.FAILED, error=describe(error)), error)
    report = replace(report, result=value, finished_at=datetime.now(UTC))
    for link in planner.callback.links:
        link.apply((value,))
    return EagerChordResult(report, value)


def _called(planner: ChordPlanner, report: Report, results: list[Any]) -> Any:
    """What the callback returns, or raises."""
    signature = planner.callback.signature.clone()
    task = planner.app.tasks[signature.task]
    args = signature.args if signature.immutable else (results, *signature.args)
    if wants_report(task.run, args, signature.kwargs):
        signature.kwargs["report"] = report
    ended = signature.apply((results,), throw=False)
    if not ended.successful():
        raise ended.result
    return ended.result


def _stages(planner: ChordPlanner, report: Report, results: list[Any]) -> Any:
    """What the declared stages make of it, from gathering on."""
    data: Any = results
    by_name = {"topic": report.topic, "request_id": report.request_id, "report": report}
    for stage in planner.collectors.registry.stages_in_order():
        signature = planner.callback.signature
        given = (signature.args, signature.kwargs) if stage.ref == "gathering" else ()
        data = fill(stage.function, iter(data), by_name, *given)()
        if stage.ref != "process":
            data = list(as_items(data))
    return data


def _failed(planner: ChordPlanner, report: Report, cause: BaseException | None = None) -> EagerChordResult:
    error = cause or celery_error(report)
    for link in planner.callback.error_links:
        said = (None, error, None) if takes_error(planner.app, link.task) else (report.request_id,)
        link.apply(said)
    return EagerChordResult(report, error)
