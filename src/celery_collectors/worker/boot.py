"""The bootstep that makes a Celery worker one of ours: sweeping, reporting deaths, saying that it is there."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import closing
from importlib import metadata
from typing import Any

from billiard.pool import EX_RECYCLE
from celery import bootsteps, signals
from celery.worker import state

from celery_collectors.dispatch import our_queue
from celery_collectors.errors import CollectorsError, ConfigurationError, LedgerUnavailable
from celery_collectors.ledger import Held, Ledger, WorkerBeat
from celery_collectors.worker.call import heed
from celery_collectors.worker.damaged import guard
from celery_collectors.worker.deaths import Reporter, note_unregistered, survive, watch
from celery_collectors.worker.process import Process, Runtime
from celery_collectors.worker.restart import Restart, is_restarting
from celery_collectors.worker.sweeper import Sweeper

log = logging.getLogger(__name__)

LEAVE_PATIENCE_S = 2.0


def install(runtime: Runtime, is_ours: Callable[[Any], bool]) -> None:
    """Make every worker of the app consume our queue, run our threads and heed our messages.

    Touches nothing else of it.
    """

    class CollectorsStep(bootsteps.StartStopStep):  # type: ignore[misc]
        """Starts the main process's threads."""

        requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - Celery's own form

        def __init__(self, worker: Any, **_: Any) -> None:
            refuse_what_can_not_work(runtime)
            runtime.main_pid = os.getpid()  # before the pool forks, so that a child knows itself as one
            runtime.forks = worker.pool_cls.__module__.endswith(".prefork")
            is_solo = worker.pool_cls.__module__.endswith(".solo")
            runtime.slots = 1 if is_solo else worker.concurrency or 1
            runtime.replace_main = Restart(runtime, worker)
            declare_queue(runtime)
            watch(runtime)

        def start(self, worker: Any) -> None:
            """Start sweeping and reporting."""
            start_threads(runtime, worker)

        def terminate(self, _worker: Any) -> None:
            """A worker in a thread of a program that goes on ends so; Celery tells of no other end there."""
            runtime.stop_sweeping()

    def on_init(instance: Any = None, **_: Any) -> None:
        if instance is not None and instance.app is runtime.app:
            declare_queue(runtime)  # before -Q and -X are applied, so that they can name it

    def on_unknown(sender: Any = None, message: Any = None, id: str = "", **_: Any) -> None:
        if sender is not None and sender.app is runtime.app:
            note_unregistered(runtime, sender, message, id)

    class HeedStep(bootsteps.StartStopStep):  # type: ignore[misc]
        """Lets the tasks of this process heed our messages, each time that Celery has built their tracers."""

        requires = {"celery.worker.consumer.tasks:Tasks"}  # noqa: RUF012 - Celery's own form

        def start(self, consumer: Any) -> None:
            """Before the first message is consumed."""
            guard(runtime, consumer)
            heed(runtime, is_ours)
            survive(runtime, consumer)

    runtime.app.steps["consumer"].add(HeedStep)
    signals.worker_process_init.connect(lambda **_: heed(runtime, is_ours), weak=False)
    signals.celeryd_init.connect(on_init, weak=False)
    signals.worker_process_shutdown.connect(lambda exitcode, **_: end_process(runtime, exitcode), weak=False)
    signals.worker_shutdown.connect(lambda **_: leave(runtime), weak=False)
    signals.task_unknown.connect(on_unknown, weak=False)
    runtime.app.steps["worker"].add(CollectorsStep)


def refuse_what_can_not_work(runtime: Runtime) -> None:
    """End a worker without a ledger, or with one of other settings, by one sentence instead of Celery's traceback.

    It would take messages from those that can work. A ledger that is away may still come.
    """
    try:
        ledger = Ledger.from_url(runtime.ledger_url(), runtime.settings, patience_s=0)
        with closing(ledger.client):
            ledger.shards  # noqa: B018 - the first use checks them
    except LedgerUnavailable:
        return
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}") from None


def declare_queue(runtime: Runtime) -> None:
    """Add our queue to those that a worker without ``-Q`` consumes."""
    queues = runtime.app.amqp.queues
    if runtime.settings.queue not in queues:
        queues.select_add(our_queue(runtime.settings.queue, runtime.settings.queue_type))


def start_threads(runtime: Runtime, worker: Any) -> None:
    """Start the main process's threads."""
    process = runtime.here()
    idle = IdleClock()
    version = our_version()
    clock_off_ms: float | None = None

    def beat(ledger: Ledger, everyone: bool) -> tuple[float, list[WorkerBeat]]:
        nonlocal clock_off_ms
        asked_at = time.time()
        now_ms, workers = ledger.beat(
            worker.hostname,
            queues=sorted(runtime.app.amqp.queues.consume_from),
            pool=type(worker.pool).__module__.rsplit(".", 1)[-1],
            processes=worker.concurrency or 0,
            idle_s=idle.seconds(),
            clock_off_ms=clock_off_ms,
            version=version,
            everyone=everyone,
        )
        if (took_s := time.time() - asked_at) < 1:  # else the way there and back hides too much
            clock_off_ms = (asked_at + took_s / 2) * 1000 - now_ms  # told with the next one, for the doctor
        return now_ms, workers

    runtime.worker_name = worker.hostname
    Reporter(process).start()
    sweeper = Sweeper(process, beat)
    runtime.stop_sweeping = sweeper.stop
    sweeper.start()
    log.info("collectors: ledger %s, queue %s", process.ledger.where, runtime.settings.queue)


def our_version() -> str:
    """This package's version, for whoever compares; empty where it is not installed as a package."""
    try:
        return metadata.version("celery-collectors")
    except metadata.PackageNotFoundError:
        return ""


class IdleClock:
    """Since when this worker has had nothing to do, as far as its main process can see."""

    def __init__(self) -> None:
        self._done = -1
        self._since = time.monotonic()

    def seconds(self) -> float | None:
        """Seconds of idleness; ``None`` while anything is reserved or was since the last call."""
        done = sum(state.total_count.values())
        if state.reserved_requests or done != self._done:
            self._done, self._since = done, time.monotonic()
            return None
        return time.monotonic() - self._since


def end_process(runtime: Runtime, exitcode: int) -> None:
    """A pool child ends: one that is only replaced (``--max-tasks-per-child``) lets its coroutines finish first.

    Handing them back each time would start them for ever and finish none.
    """
    process = runtime.existing()
    if process is not None and exitcode == EX_RECYCLE:
        process.keeper.wait_until_empty()
    hand_back(runtime)


def hand_back(runtime: Runtime) -> None:
    """At a process's orderly end: give its leases back at once, so that others need not wait for them."""
    process = runtime.existing()
    if process is None:
        return
    for held in process.keeper.held():
        _hand_back_one(process, held)
    if process.has_sent:
        process.teller.flush()


def _hand_back_one(process: Process, held: Held) -> None:
    process.keeper.drop(held)
    try:
        process.publish(process.ledger.settle(held, "queued").orders)
    except CollectorsError as error:
        log.warning("%s %s: could not be handed back, its lease will lapse: %s", held.request_id, held.ref, error)


def leave(runtime: Runtime) -> None:
    """At a worker's orderly end; one that starts again lets its coroutines finish, like a pool child."""
    process = runtime.existing()
    if process is not None:
        process.keeper.wait_until_empty(while_true=is_restarting)
    hand_back(runtime)
    runtime.stop_sweeping()
    if process is None or not runtime.worker_name:
        return
    try:  # a courtesy, which is worth no waiting: its absence is noticed in half a minute
        Ledger.from_url(runtime.ledger_url(), process.settings, patience_s=LEAVE_PATIENCE_S).leave(runtime.worker_name)
    except CollectorsError as error:
        log.warning("could not take leave: %s", error)
