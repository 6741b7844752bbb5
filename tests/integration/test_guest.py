"""A guest in the app: other tasks, their settings and their queues stay as they are."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from kombu import Queue

from tests.integration.conftest import ROOT, Engine, until

PROGRAM = """
import json, sys
from celery import Celery
import pytest
from kombu import Queue
app = Celery("shop", broker="redis://localhost:1/0", backend="redis://localhost:1/1")
app.conf.update(task_default_queue="shop", task_acks_late=False, task_soft_time_limit=7, task_time_limit=9,
                task_queues=[Queue("shop"), Queue("mail", queue_arguments={"x-max-priority": 3})])
@app.task(acks_late=True, time_limit=5, rate_limit="10/s")
def bill(n): return n
@app.task
def mail(n): return n
if "with" in sys.argv:
    from celery_collectors import Collectors
    collectors = Collectors(app)
    @collectors.collector
    def source(topic): return [topic]
    @collectors.process
    def total(items): return 1
    app.finalize()
facts = {task.name: {name: repr(getattr(task, name)) for name in (
    "acks_late", "acks_on_failure_or_timeout", "reject_on_worker_lost", "ignore_result", "track_started",
    "time_limit", "soft_time_limit", "rate_limit", "serializer", "Request", "priority", "max_retries")}
    for task in (bill, mail)}
facts["conf"] = {key: repr(value) for key, value in sorted(app.conf.table(with_defaults=True, censored=True).items())}
facts["queues"] = {name: repr((q.routing_key, q.exchange.name, q.queue_arguments))
                   for name, q in app.amqp.queues.items() if not name.startswith("collectors")}
facts["route"] = repr(app.amqp.router.route({}, "shop.mail"))
json.dump(facts, sys.stdout)
"""


def facts(*argv: str) -> Any:
    found = subprocess.run([sys.executable, "-c", PROGRAM, *argv], capture_output=True, check=True, cwd=ROOT)
    return json.loads(found.stdout)


@pytest.mark.promise(8)
def test_nothing_of_the_app_changes_by_our_being_there() -> None:
    without, with_us = facts(), facts("with")
    assert without == with_us


def test_an_apps_own_task_runs_beside_ours_and_keeps_its_result(engine: Engine) -> None:
    backend = engine.setup.backend_url
    engine.worker("prefork", 2, CELERY_RESULT_BACKEND=backend)
    report = engine.collectors.request("python", deadline=20)
    program = "from tests.integration.engine_app import add; print(add.delay(2, 3).get(timeout=20))"
    run = [sys.executable, "-c", program]
    found = subprocess.run(
        run, env=engine.env(CELERY_RESULT_BACKEND=backend), cwd=ROOT, capture_output=True, check=True
    )
    assert found.stdout.strip() == b"5"
    assert report.wait().state == "complete"


def test_a_worker_with_queues_of_its_choice_leaves_ours_alone(engine: Engine) -> None:
    engine.worker("threads", 1, "-Q", engine.default_queue)
    workers = until(engine.collectors.workers, "the worker reports itself")
    assert [worker.queues for worker in workers] == [[engine.default_queue]]
    report = engine.collectors.request("python", deadline=1).wait()
    assert report.outcomes["steady"].attempts == 0


@pytest.mark.heavy
def test_a_worker_that_names_our_queue_consumes_it(engine: Engine) -> None:
    engine.worker("threads", 1, "-Q", engine.collectors.settings.queue)
    assert engine.collectors.request("python", deadline=20).wait().state == "complete"


def test_ours_plainly_called_and_plainly_sent(engine: Engine) -> None:
    """A plain call runs the function; a plain ``delay`` is an ordinary task, through the default queue."""
    from tests.integration import engine_app

    engine.write("agate")
    assert engine_app.nothing("x") is None
    engine.worker("threads", 1)
    engine_app.steady.delay("python")
    until(lambda: engine.noted("steady") == 1, "the task ran")


def test_the_queue_is_ours_alone() -> None:
    from celery_collectors.dispatch import our_queue

    queue: Queue = our_queue("collectors.v1")
    assert (queue.durable, queue.queue_arguments, queue.exchange.name) == (True, {"x-max-priority": 9}, "collectors.v1")


def test_an_apps_soft_time_limit_is_not_for_ours(engine: Engine) -> None:
    """Its signal would end a run that has time left, or strike in the middle of a Redis reply."""
    engine.worker("prefork", 1, "--soft-time-limit", "1")
    request = engine.collectors.request("gated", deadline=30, only=["gated"])
    until(lambda: "Soft time limit" in engine.logs(), "the limit strikes")
    engine.write("gate")
    assert request.wait().outcomes["gated"].state == "ok"


def test_a_thread_that_has_ended_is_nobodys_current_task(engine: Engine, pool: str) -> None:
    """Celery keeps them by thread ident: they would pile up, and stand in a later thread that is none of ours."""
    engine.worker(pool, 1)
    requests = [engine.collectors.request("currents", deadline=20, only=["currents"]) for _ in range(4)]
    found = [number for request in requests if request.wait() for number in request.items()]
    assert found == [found[0]] * 4


@pytest.mark.everywhere
def test_two_apps_on_one_broker_leave_each_other_alone(engine: Engine) -> None:
    """Neither worker knows the other's tasks, so a message taken by the wrong one would be thrown away."""
    engine.worker("threads", 2)
    engine.worker("threads", 2, app="tests.integration.other_app", wait=False)
    until(lambda: "ready" in (engine.notes / "w1@test.log").read_text(), "the other app's worker is ready")
    requests = [engine.collectors.request("python", deadline=20) for _ in range(20)]
    assert [request.wait().state for request in requests] == ["complete"] * 20
    assert "unregistered" not in engine.logs()
    assert len(engine.collectors.workers()) == 1
