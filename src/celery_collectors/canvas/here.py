"""A chord under ``task_always_eager``: one member after another, in this process, without servers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery.canvas import chain
from celery.result import EagerResult
from msgspec.structs import replace

from celery_collectors.canvas.members import Member
from celery_collectors.canvas.planning import NOT_GIVEN, ChordPlanner
from celery_collectors.dispatch.messages import takes_error
from celery_collectors.dispatch.results import celery_error, celery_state
from celery_collectors.model import ErrorInfo, Outcome, Report, RequestState, RunState
from celery_collectors.plan import Plan
from celery_collectors.registry import fill
from celery_collectors.worker.attempt import as_items, describe


class EagerChordResult(EagerResult):  # type: ignore[misc]
    """The result of a chord that ran here and now; it has what :class:`ChordResult` has."""

    def __init__(self, report: Report, value: Any) -> None:
        super().__init__(report.request_id, value, celery_state(report))
        self.request_id = report.request_id
        self._report = report

    def report(self) -> Report:
        """Return every member's outcome."""
        return self._report


def run_here(planner: ChordPlanner, plan: Plan, *, request_id: str, missing: Any) -> EagerChordResult:
    """Run a planned chord here and now."""
    created_at = datetime.now(UTC)
    ended = [_run(member) for member in planner.members]
    outcomes = {name: _outcome(one) for name, one in zip(planner.names, ended, strict=True)}
    answered = [name for name, one in zip(planner.names, ended, strict=True) if one.successful()]
    required_open = len(set(plan.policy.required) - set(answered))
    met = plan.policy.is_met(answered=len(answered), required_open=required_open)
    report = Report(
        request_id=request_id,
        topic=plan.topic,
        state=_state(met, len(ended) - len(answered)),
        created_at=created_at,
        finished_at=datetime.now(UTC),
        outcomes=outcomes,
        error=None if met else _not_met(len(answered), plan),
    )
    if not met:
        return _failed(planner, report)
    instead = [] if missing is NOT_GIVEN else [missing]
    results = [value for one in ended for value in ([one.result] if one.successful() else instead)]
    return _call_back(planner, report, results)


def _run(member: Member) -> Any:
    steps = member.steps
    return (steps[0] if len(steps) == 1 else chain(*steps)).apply(throw=False)


def _outcome(ended: Any) -> Outcome:
    if ended.successful():
        return Outcome(state=RunState.OK, attempts=1)
    return Outcome(state=RunState.FAILED, attempts=1, error=describe(ended.result))


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
    signature = planner.callback.signature
    ended = (signature if signature.immutable else signature.clone((results,))).apply()
    if not ended.successful():
        error = describe(ended.result)
        return _failed(planner, replace(report, state=RequestState.FAILED, error=error), ended.result)
    value = _stages(planner, report, ended.result) if planner.stage else ended.result
    report = replace(report, result=value, finished_at=datetime.now(UTC))
    for link in planner.callback.links:
        (link if link.immutable else link.clone((value,))).apply()
    return EagerChordResult(report, value)


def _stages(planner: ChordPlanner, report: Report, gathered: Any) -> Any:
    """What follows the declared gathering stage."""
    data: Any = list(as_items(gathered))
    by_name = {"topic": report.topic, "request_id": report.request_id, "report": report}
    for stage in planner.collectors.registry.stages_in_order():
        if stage.ref == "cleanup":
            data = list(as_items(fill(stage.function, iter(data), by_name)()))
        elif stage.ref == "process":
            data = fill(stage.function, iter(data), by_name)()
    return data


def _failed(planner: ChordPlanner, report: Report, cause: BaseException | None = None) -> EagerChordResult:
    error = cause or celery_error(report)
    for link in planner.callback.error_links:
        said = (None, error, None) if takes_error(planner.app, link.task) else (report.request_id,)
        (link if link.immutable else link.clone(said)).apply()
    return EagerChordResult(report, error)
