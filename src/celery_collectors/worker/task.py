"""The Celery task behind every declared collector and stage."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anyio
from billiard.pool import EX_RECYCLE
from celery import Task
from celery._state import _task_stack

from celery_collectors.dispatch import HEADER, order_of
from celery_collectors.errors import ConfigurationError, Stopped
from celery_collectors.worker.arguments import has_references, referred, resolved
from celery_collectors.worker.attempt import Attempt, for_celery
from celery_collectors.worker.bounded import Within
from celery_collectors.worker.pack import execute_pack
from celery_collectors.worker.process import Process, Runtime
from celery_collectors.worker.run import Arguments, execute_run
from celery_collectors.worker.stage import asked_of, execute_stage

log = logging.getLogger(__name__)


class CollectorsTask(Task):  # type: ignore[misc]
    """A collector or stage as a Celery task: a plain call runs the function, our message runs the ledger's part.

    Delivery: late acknowledgement without redelivery (the ledger recovers what died, with a cap), no stored
    result (the ledger is the result), no soft time limit (a signal may strike in the middle of a Redis reply).
    """

    abstract = True
    acks_late = True
    acks_on_failure_or_timeout = True
    reject_on_worker_lost = False
    ignore_result = True
    track_started = False
    soft_time_limit = 0
    time_limit = 0
    rate_limit = 0
    collectors_runtime: Runtime
    collectors_ref: str = ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function, or what our message announced."""
        order = None if self.request.called_directly else order_of(self.request.get(HEADER), self.request.id)
        if order is None:
            return self._plainly(*args, **kwargs)
        process = self.collectors_runtime.here()
        with process.soft_limit.held_off():
            return self._execute(process, order, (args, kwargs))

    def apply_async(self, args: Any = None, kwargs: Any = None, *more: Any, **options: Any) -> Any:
        """Send it as an ordinary task, large arguments by reference."""
        if not self.app.conf.task_always_eager and HEADER not in (options.get("headers") or {}):
            args, kwargs = self._by_reference(args or (), kwargs or {})
        return super().apply_async(args, kwargs, *more, **options)

    def _by_reference(self, args: Any, kwargs: Any) -> Arguments:
        try:
            light, named = referred(self.collectors_runtime.here(), args, kwargs)
        except ConfigurationError:  # there is no ledger, which a plain task can do without
            return args, kwargs
        return tuple(light), named

    def _plainly(self, *args: Any, **kwargs: Any) -> Any:
        if has_references(args, kwargs):
            given, kwargs = resolved(self.collectors_runtime.here(), self.name, args, kwargs)
            args = tuple(given)
        result = self.run(*args, **kwargs)
        if not self.request.called_directly and inspect.iscoroutine(result):
            return anyio.run(_awaited, result)  # sent as an ordinary task, where nobody could await it
        return result

    def _execute(self, process: Process, order: Mapping[str, Any], given: Arguments) -> None:
        within = self._make_current()
        if "refs" in order:
            ended = execute_pack(process, order, within)
        elif order["ref"].isdigit():
            collector = process.registry.collectors[self.collectors_ref]
            ended = execute_run(process, collector, order, within, given)
        elif order.get("call"):
            args, kwargs = given
            ended = execute_stage(process, order, within, (args[order["data"] :], kwargs))
        else:
            ended = execute_stage(process, order, within)
        first = ended.attempt
        while ended.next is not None:
            ended = execute_stage(process, ended.next, within, asked_of(process, ended.next))
        _raise_for_celery(process, first)

    def _make_current(self) -> Within:
        """Celery's current task and request belong to a thread; a helper thread has to be given them.

        And they are taken back at its end: Celery keeps them by thread ident, which a later thread may get.
        """
        request = self.request_stack.top

        @contextmanager
        def within() -> Iterator[None]:
            _task_stack.push(self)
            self.request_stack.push(request)
            try:
                yield
            finally:
                self.request_stack.pop()
                _task_stack.pop()

        return within


def _raise_for_celery(process: Process, attempt: Attempt | None) -> None:
    hangs = (attempt is None or attempt.cause) and (process.should_be_replaced() or _goes_on(process, attempt))
    if hangs and not process.runtime.is_main:
        log.warning("this process is replaced, because %d of its threads hang", process.hanging())
        sys.exit(EX_RECYCLE)
    if attempt is not None and attempt.cause is not None:
        raise for_celery(attempt.cause) from None


def _goes_on(process: Process, attempt: Attempt | None) -> bool:
    """Whether code that nobody wants any more, as after a cancel, can only be ended with its process."""
    return attempt is not None and isinstance(attempt.cause, Stopped) and process.hangs_on()


async def _awaited(coroutine: Any) -> Any:
    return await coroutine
