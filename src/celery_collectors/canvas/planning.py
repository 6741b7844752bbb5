"""A chord as the ledger takes it: members become runs, the callback the gathering stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from celery import Celery
from celery.backends.base import DisabledBackend
from celery.canvas import Signature

from celery_collectors.calls import encode_call, says_acks_early, seconds_until, sent_options
from celery_collectors.canvas.members import Callback, Member
from celery_collectors.collectors import Collectors
from celery_collectors.dispatch.messages import takes_error
from celery_collectors.ledger import LinkPlan, RunPlan, StagePlan, StepPlan
from celery_collectors.model import STAGES, Policy
from celery_collectors.plan import Plan, run_names, run_plan, stage_plan
from celery_collectors.registry import Collector, Stage, check_topic
from celery_collectors.worker.data import MISSING, wants_report

NOT_GIVEN = object()
NO_LIMIT_MS = 366 * 24 * 3600 * 1000  # of a link, which no deadline ends
LIMIT_GRACE_S = 5  # a task's own hard limit acts first
ROUTED = ("queue", "routing_key", "exchange", "priority")


class ChordPlanner:
    """Makes the plan of one chord.

    Args:
        collectors: The app's.
        members, callback: What it consists of.
    """

    def __init__(self, collectors: Collectors, members: Sequence[Member], callback: Callback) -> None:
        self.collectors = collectors
        self.members = members
        self.callback = callback
        self.app: Celery = collectors.app
        self.names = run_names(self._name(member.steps[0]) for member in members)
        self.stage = self._stage_of(callback.signature)
        self._ask_for_report()

    def _ask_for_report(self) -> None:
        """Hold the report's place, where the callback asks for it by name: its task checks its arguments."""
        signature = self.callback.signature
        task = self.app.tasks.get(signature.task)
        args = signature.args if signature.immutable else (None, *signature.args)
        if task is not None and self.stage is None and wants_report(task.run, args, signature.kwargs):
            signature.kwargs["report"] = None

    def plan(
        self, policy: Policy, *, topic: str | None, missing: Any, result_id: str | None, deadline_s: float
    ) -> Plan:
        """The plan.

        Raises:
            TypeError: for what can't be sent.
            PolicyError, TopicError: for what can't be asked.
        """
        settings = self.collectors.settings
        policy.check(self.names)
        topic = self.callback.signature.task if topic is None else topic
        check_topic(topic, settings.topic_max_chars)
        for member in self.members:
            for position, step in enumerate(member.steps):
                self._check(step, data=min(position, 1))
        self._check(self.callback.signature, data=1)
        for link in self.callback.links:
            self._check(link, data=1)
        for link in self.callback.error_links:
            self._check(link, data=3 if takes_error(self.app, link.task) else 1)
        return Plan(
            topic=topic,
            policy=policy,
            runs=tuple(
                self._run(member, name, name in policy.required, int(deadline_s * 1000))
                for member, name in zip(self.members, self.names, strict=True)
            ),
            stages=tuple(self._stages()),
            calls=dict(self._calls(missing)),
            links=tuple(self._links()),
            result_id=result_id if result_id is not None and self._is_kept() else None,
        )

    # What tasks are -------------------------------------------------------------------------------

    def _task(self, signature: Signature) -> Any:
        """The signature's task, if this process knows it."""
        return self.app.tasks.get(signature.task)

    def _collector_of(self, signature: Signature) -> Collector | None:
        return self.collectors.registry.by_task().get(signature.task)

    def is_collector(self, signature: Signature) -> bool:
        """Whether its task is a declared collector."""
        return self._collector_of(signature) is not None

    def _stage_of(self, signature: Signature) -> Stage | None:
        declared = self.collectors.registry.stages.values()
        return next((one for one in declared if one.task.name == signature.task), None)

    def _name(self, signature: Signature) -> str:
        collector = self._collector_of(signature)
        return collector.name if collector else signature.task.rpartition(".")[2]

    def _check(self, signature: Signature, data: int) -> None:
        """Refuse now what could only fail later."""
        stage = self._stage_of(signature)
        is_callback = signature is self.callback.signature
        if stage is not None and not (is_callback and stage.ref == "gathering"):
            raise TypeError(f"{stage.name!r} is the {stage.ref} stage, which is called by itself")
        if is_callback and self._collector_of(signature) is not None:
            raise TypeError(f"{signature.task} is a collector; a chord's callback is a task or the gathering stage")
        if stage is not None and signature.immutable:
            raise TypeError(
                f"{stage.name!r} is the gathering stage, which always gets the data: write .s(…), not .si(…)"
            )
        task = self._task(signature)
        header = getattr(task, "__header__", None)
        if stage is None and task is not None and task.typing and header is not None:
            header(*([None] * (0 if signature.immutable else data)), *signature.args, **signature.kwargs)

    # Members --------------------------------------------------------------------------------------

    def _run(self, member: Member, name: str, required: bool, deadline_ms: int) -> RunPlan:
        first, *rest = (self._step(step) for step in member.steps)
        collector = self._collector_of(member.steps[0])
        now = datetime.now(UTC)
        base = run_plan(collector, name, required, self.collectors.settings) if collector else None
        return RunPlan(
            name=name,
            task=first.task,
            queue=first.queue,
            retries=first.retries,
            timeout_ms=min(first.timeout_ms, deadline_ms),  # its message's hard limit, too: that frees the slot
            backoff_ms=base.backoff_ms if base else 0,
            backoff_cap_ms=base.backoff_cap_ms if base else 0,
            required=required,
            call=True,
            priority=first.priority,
            once=first.once,
            more=tuple(rest),
            delay_ms=self._delay_ms(member.steps[0], now),
            expires_ms=self._expires_ms(member.steps[0], now),
        )

    def _step(self, signature: Signature) -> StepPlan:
        collector = self._collector_of(signature)
        task, queue, priority = self._task(signature), *self._route(signature)
        if collector is not None:
            plan = run_plan(collector, "", False, self.collectors.settings)
            return StepPlan(
                task=plan.task, queue=queue, timeout_ms=plan.timeout_ms, retries=plan.retries, priority=priority
            )
        limit_s = signature.options.get("time_limit") or getattr(task, "time_limit", None)
        return StepPlan(
            task=signature.task,
            queue=queue,
            timeout_ms=int((limit_s + LIMIT_GRACE_S) * 1000) if limit_s else NO_LIMIT_MS,
            priority=priority,
            once=task is not None and says_acks_early(task),
        )

    def _route(self, signature: Signature) -> tuple[str, str | None]:
        """The queue that its messages go to, and a priority of its own."""
        options = sent_options(signature)
        is_ours = self._collector_of(signature) is not None or self._stage_of(signature) is not None
        priority = options.get("priority")
        if is_ours and not any(options.get(name) for name in ROUTED[:3]):
            return self.collectors.settings.queue, None if priority is None else str(priority)
        task = self._task(signature)
        said = {name: getattr(task, name, None) for name in ROUTED} | {name: options.get(name) for name in options}
        route = self.app.amqp.router.route(
            {name: value for name, value in said.items() if value is not None},
            signature.task,
            signature.args,
            signature.kwargs,
            task,
        )
        queue = route.get("queue")
        name = str(queue.name if queue is not None else route.get("routing_key"))
        priority = said.get("priority")
        return name, None if priority is None else str(priority)

    def _delay_ms(self, signature: Signature, now: datetime) -> int | None:
        when = signature.options.get("countdown") or signature.options.get("eta")
        return max(1, int(seconds_until(when, now) * 1000)) if when else None

    def _expires_ms(self, signature: Signature, now: datetime) -> int | None:
        when = signature.options.get("expires") or getattr(self._task(signature), "expires", None)
        return max(1, int(seconds_until(when, now) * 1000)) if when is not None else None

    # Callback and links ---------------------------------------------------------------------------

    def _stages(self) -> Iterator[StagePlan]:
        settings = self.collectors.settings
        signature = self.callback.signature
        queue, priority = self._route(signature)
        if self.stage is None:
            yield StagePlan(
                ref="gathering",
                name=self._name(signature),
                task=signature.task,
                queue=queue,
                retries=0,  # a task says itself when it wants to be tried again
                backoff_ms=0,
                backoff_cap_ms=0,
                call=True,
                priority=priority,
                once=self._task(signature) is not None and says_acks_early(self._task(signature)),
            )
            return
        gathering = stage_plan(self.stage, settings)
        declared = not sent_options(signature)
        yield msgspec.structs.replace(gathering, queue=queue, call=True, declared=declared, priority=priority)
        for stage in self.collectors.registry.stages_in_order():
            if list(STAGES).index(stage.ref) > 0:
                yield stage_plan(stage, settings)

    def _links(self) -> Iterator[LinkPlan]:
        for kind, signatures in (("link", self.callback.links), ("link_error", self.callback.error_links)):
            for number, signature in enumerate(signatures):
                step = self._step(signature)
                yield LinkPlan(
                    ref=f"{kind}:{number}",
                    kind=kind,
                    name=self._name(signature),
                    task=step.task,
                    queue=step.queue,
                    timeout_ms=min(step.timeout_ms, int(self.collectors.settings.finish_s * 1000)),
                    priority=step.priority,
                    once=step.once,
                )

    def _calls(self, missing: Any) -> Iterator[tuple[str, str]]:
        for number, member in enumerate(self.members):
            yield str(number), encode_call(self.app, member.steps)
        yield "gathering", encode_call(self.app, [self.callback.signature])
        for kind, signatures in (("link", self.callback.links), ("link_error", self.callback.error_links)):
            for number, signature in enumerate(signatures):
                yield f"{kind}:{number}", encode_call(self.app, [signature])
        if missing is not NOT_GIVEN:
            yield MISSING, encode_call(self.app, [Signature(MISSING, args=(missing,), app=self.app)])

    def _is_kept(self) -> bool:
        """Whether Celery's result backend is to hold the chord's result, as it would that of any task."""
        if isinstance(self.app.backend, DisabledBackend):
            return False
        options, task = self.callback.signature.options, self._task(self.callback.signature)
        ignored = self.app.conf.task_ignore_result if self.stage else getattr(task, "ignore_result", False)
        return not (ignored if options.get("ignore_result") is None else options["ignore_result"])
