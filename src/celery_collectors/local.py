"""``run_local``: a whole request in this process, without broker or ledger; for tests and notebooks."""

from __future__ import annotations

import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import msgspec

from celery_collectors import context
from celery_collectors.errors import TimedOut, TooLarge
from celery_collectors.events import Event, Hook
from celery_collectors.ledger import RunPlan, StagePlan
from celery_collectors.model import (
    RUN_ANSWERED,
    RUN_MISSING,
    ErrorInfo,
    Outcome,
    Policy,
    Report,
    RequestState,
    RunState,
)
from celery_collectors.payloads import Cap, decode_items, encode_items
from celery_collectors.payloads.codec import Chunk, decode_result
from celery_collectors.plan import Plan
from celery_collectors.registry import Collector, Registry, Stage
from celery_collectors.settings import Settings
from celery_collectors.worker.attempt import as_items, describe
from celery_collectors.worker.bounded import Bounded
from celery_collectors.worker.in_one_go import run_stage
from celery_collectors.worker.run import call_of, each_item
from celery_collectors.worker.threads import Threads

WORKER = "local"
MARGIN_S = 1.0  # so that one that is tried alone runs into its own time limit


class _Task(threading.Thread):
    """One run or stage: its attempts one after another, each bounded in time.

    Args:
        plan: Its retries and pauses.
        produce: Makes an attempt's call from the attempt's number.
        limit_s: Seconds that an attempt starting now may take.
        cap: How much it may produce.
        ended: Gets ``self`` once :attr:`outcome` is there.
    """

    def __init__(
        self,
        plan: RunPlan | StagePlan,
        produce: Callable[[int], Iterator[Chunk]],
        limit_s: Callable[[], float],
        cap: Cap,
        ended: queue.SimpleQueue[_Task],
    ) -> None:
        super().__init__(name=f"collectors-local {plan.name}", daemon=True)
        self.plan = plan
        self.outcome = Outcome(state=RunState.QUEUED)
        self.chunks: list[Chunk] = []
        self._produce = produce
        self._limit_s = limit_s
        self._cap = cap
        self._ended = ended
        self._stopped = threading.Event()

    def run(self) -> None:
        """Try until it answers, fails for good, or is stopped."""
        attempt = 0
        while not self._stopped.is_set():
            attempt += 1
            self.outcome = self._attempt(attempt)
            if not self._again(attempt):
                break
            pause_s = min(self.plan.backoff_cap_ms, self.plan.backoff_ms * 2 ** (attempt - 1)) / 1000
            self._stopped.wait(pause_s * random.uniform(0.5, 1))
        self._ended.put(self)

    def stop(self) -> None:
        """Start no further attempt."""
        self._stopped.set()

    def _again(self, attempt: int) -> bool:
        error = self.outcome.error
        return error is not None and error.retryable and attempt <= self.plan.retries

    def _attempt(self, attempt: int) -> Outcome:
        started = time.monotonic()
        call = Bounded(lambda: self._produce(attempt), self.name)
        self.outcome = Outcome(state=RunState.RUNNING, attempts=attempt, worker=WORKER)
        try:
            self.chunks = list(self._capped(call.chunks(self._limit_s(), Threads(kept=0))))
        except BaseException as error:  # noqa: BLE001 - the collector's boundary
            state = RunState.TIMED_OUT if isinstance(error, TimedOut) else RunState.FAILED
            return self._outcome(state, attempt, started, describe(error))
        state = RunState.OK if self.chunks else RunState.EMPTY
        return self._outcome(state, attempt, started, None)

    def _capped(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        items = size_bytes = 0
        for chunk in chunks:
            items, size_bytes = items + chunk.items, size_bytes + len(chunk.data)
            self._cap.check(items, size_bytes)
            yield chunk

    def _outcome(self, state: RunState, attempt: int, started: float, error: ErrorInfo | None) -> Outcome:
        answered = error is None
        return Outcome(
            state=state,
            attempts=attempt,
            items=sum(chunk.items for chunk in self.chunks) if answered else 0,
            bytes=sum(len(chunk.data) for chunk in self.chunks) if answered else 0,
            wait_s=0.0,
            run_s=round(time.monotonic() - started, 3),
            worker=WORKER,
            error=error,
        )


class _LocalRequest:
    """One request's life in this process."""

    def __init__(
        self, registry: Registry, plan: Plan, settings: Settings, *, deadline_s: float, finish_s: float
    ) -> None:
        self._settings = settings
        self.id = str(uuid.uuid4())
        self._registry = registry
        self._plan = plan
        self._created_at = datetime.now(UTC)
        self._deadline = time.monotonic() + deadline_s
        self._finish = self._deadline + finish_s
        self._deadline_at = self._created_at + timedelta(seconds=deadline_s)
        self._ended: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self.tasks = [self._run_task(run) for run in plan.runs]

    # Collecting -----------------------------------------------------------------------------------

    def _run_task(self, run: RunPlan) -> _Task:
        collector = self._registry.find(run.name)
        assert collector is not None

        def produce(attempt: int) -> Iterator[Chunk]:
            self._enter(run.name, attempt)
            yield from _produce(collector, self._plan.topic, self.id)

        def limit_s() -> float:
            return min(run.timeout_ms / 1000, self._deadline - time.monotonic())

        return _Task(run, produce, limit_s, Cap.of_run(self._settings), self._ended)

    def _enter(self, name: str, attempt: int) -> None:
        context.enter(
            context.Context(
                request_id=self.id,
                topic=self._plan.topic,
                name=name,
                attempt=attempt,
                deadline_at=self._deadline_at,
            )
        )

    def collect(self) -> dict[str, Outcome]:
        """Run everything until the policy or the deadline ends it; return every outcome."""
        still_open = {task.plan.name: task for task in self.tasks}
        for task in self.tasks:
            task.start()
        over = RunState.TIMED_OUT
        while still_open:
            try:
                task = self._ended.get(timeout=max(0.0, self._deadline - time.monotonic()))
            except queue.Empty:
                break
            del still_open[task.plan.name]
            self._refuse_too_much(task)
            if self._is_decided(still_open):
                over = RunState.SKIPPED
                break
        for task in still_open.values():
            task.stop()
            task.outcome = _cut_off(task.outcome, over)
        return {task.plan.name: task.outcome for task in self.tasks}

    def _refuse_too_much(self, last: _Task) -> None:
        """The answer with which the request would have more than it may is none."""
        answers = [task.outcome for task in self.tasks if task.outcome.state is RunState.OK]
        if last.outcome.state is not RunState.OK:
            return
        try:
            cap = Cap.of_request(self._settings)
            cap.check(sum(one.items for one in answers), sum(one.bytes for one in answers))
        except TooLarge as error:
            last.outcome = msgspec.structs.replace(
                last.outcome, state=RunState.FAILED, items=0, bytes=0, error=describe(error)
            )

    def _is_decided(self, still_open: dict[str, _Task]) -> bool:
        ended = [task for task in self.tasks if task.plan.name not in still_open]
        answered, required_open, required_missing = _counts(self._plan.policy, ended)
        policy = self._plan.policy
        return policy.ends_early(answered=answered, required_open=required_open) or policy.is_impossible(
            answered=answered, still_open=len(still_open), required_missing=required_missing
        )

    # The stages -----------------------------------------------------------------------------------

    def report(self, outcomes: dict[str, Outcome]) -> Report:
        """Run the stages, if the policy is met, and report."""
        answered, required_open, _ = _counts(self._plan.policy, self.tasks)
        if not self._plan.policy.is_met(answered=answered, required_open=required_open):
            report = self._report(outcomes, RequestState.FAILED, error=_not_met(self._plan.policy, answered))
            return report.with_items(partial(_items, self._collected()))
        missing = any(outcome.state in RUN_MISSING for outcome in outcomes.values())
        report = self._report(outcomes, RequestState.PARTIAL if missing else RequestState.COMPLETE)
        return self._through_stages(report)

    def _through_stages(self, report: Report) -> Report:
        stages: dict[str, Outcome] = {}
        result: Any = None
        answered = [task for task in self.tasks if task.outcome.state is RunState.OK]
        chunks = self._collected()
        for plan, stage in zip(self._plan.stages, self._registry.stages_in_order(), strict=True):
            data: Any = _items(chunks)
            if plan.ref == "gathering":
                data = iter([list(_items(task.chunks)) for task in answered])
            task = self._run_stage(plan, stage, data, report)
            stages[plan.ref] = task.outcome
            if task.outcome.error is not None:
                return msgspec.structs.replace(
                    report, state=RequestState.FAILED, stages=stages, error=task.outcome.error
                ).with_items(partial(_items, chunks))
            if plan.ref == "process":
                result = decode_result(b"".join(chunk.data for chunk in task.chunks))
            else:
                chunks = task.chunks
        report = msgspec.structs.replace(report, stages=stages, result=result, finished_at=datetime.now(UTC))
        return report.with_items(partial(_items, chunks))

    def _collected(self) -> list[Chunk]:
        return [chunk for task in self.tasks if task.outcome.state is RunState.OK for chunk in task.chunks]

    def _run_stage(self, plan: StagePlan, stage: Stage, data: Any, report: Report) -> _Task:
        by_name = {"topic": report.topic, "request_id": self.id, "report": report}
        source = list(data)  # every attempt reads it from the start

        def produce(attempt: int) -> Iterator[Chunk]:
            self._enter(plan.name, attempt)
            yield from run_stage(stage, iter(source), by_name)

        ended: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        task = _Task(plan, produce, lambda: self._finish - time.monotonic(), Cap.of_request(self._settings), ended)
        task.start()
        ended.get()
        return task

    def _report(self, outcomes: dict[str, Outcome], state: RequestState, error: ErrorInfo | None = None) -> Report:
        return Report(
            request_id=self.id,
            topic=self._plan.topic,
            state=state,
            created_at=self._created_at,
            deadline_at=self._deadline_at,
            finished_at=datetime.now(UTC),
            outcomes=outcomes,
            error=error,
        )


def run_local(
    registry: Registry,
    plan: Plan,
    settings: Settings,
    *,
    deadline_s: float,
    finish_s: float,
    hooks: Sequence[Hook] = (),
) -> Report:
    """Run a planned request here and now.

    Args:
        registry: What the project declares.
        plan: From :func:`~celery_collectors.plan.make_plan`.
        settings: How much may be produced.
        deadline_s, finish_s: Seconds for collecting, and for the stages after that.
        hooks: Hear how each run ended.
    """
    request = _LocalRequest(registry, plan, settings, deadline_s=deadline_s, finish_s=finish_s)
    outcomes = request.collect()
    for name, outcome in outcomes.items():
        for hook in hooks:
            hook(_event(request.id, name, outcome))
    return request.report(outcomes)


def try_one(registry: Registry, plan: Plan, settings: Settings) -> tuple[Outcome, list[Any]]:
    """Run a plan's first collector once, here and now, within its own time limit; its outcome and its items.

    Args:
        registry: What the project declares.
        plan: From :func:`~celery_collectors.plan.make_plan`; its stages are left out.
        settings: The settings.
    """
    run = msgspec.structs.replace(plan.runs[0], retries=0)
    alone = msgspec.structs.replace(plan, runs=(run,), stages=())
    request = _LocalRequest(registry, alone, settings, deadline_s=run.timeout_ms / 1000 + MARGIN_S, finish_s=0.0)
    outcome = request.collect()[run.name]
    return outcome, list(_items(request.tasks[0].chunks)) if outcome.error is None else []


def _produce(collector: Collector, topic: str, request_id: str) -> Iterator[Chunk]:
    call = call_of(collector, topic, request_id)
    if collector.is_async:
        return encode_items(anyio.run(_all_items, call), of=collector.name)
    return encode_items(as_items(call()), of=collector.name)


async def _all_items(call: Callable[[], Any]) -> list[Any]:
    return [item async for item in each_item(call())]


def _items(chunks: Sequence[Chunk]) -> Iterator[Any]:
    for chunk in chunks:
        yield from decode_items(chunk)


def _counts(policy: Policy, ended: Sequence[_Task]) -> tuple[int, int, int]:
    """How many answered; how many required ones have not; how many of those never will."""
    answered = {task.plan.name for task in ended if task.outcome.state in RUN_ANSWERED}
    missing = {task.plan.name for task in ended} - answered
    required = set(policy.required)
    return len(answered), len(required - answered), len(required & missing)


def _cut_off(outcome: Outcome, state: RunState) -> Outcome:
    if state is RunState.SKIPPED:
        return msgspec.structs.replace(outcome, state=state)
    error = ErrorInfo(type="Timeout", kind="transient", message="was not done by the deadline", retryable=True)
    return msgspec.structs.replace(outcome, state=state, error=error)


def _not_met(policy: Policy, answered: int) -> ErrorInfo:
    message = f"{answered} answered, and the policy asks for min_ok={policy.min_ok}"
    if policy.required:
        message += f" and required={', '.join(policy.required)}"
    return ErrorInfo(type="PolicyNotMet", kind="transient", message=message, retryable=True)


def _event(request_id: str, name: str, outcome: Outcome) -> Event:
    return Event(
        request_id=request_id,
        subject="run",
        name=name,
        state=str(outcome.state),
        at_ms=int(time.time() * 1000),
        attempt=outcome.attempts,
        items=outcome.items,
        error=outcome.error,
    )
