"""The workflow: each task as a plain function, and all of them together on real servers."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.result import AsyncResult
from kombu import pools

from celery_collectors import Report
from main import tasks
from main.celery_app import app, collectors
from main.tasks_collectors import (
    cleanup,
    collector_1,
    collector_2,
    collector_3,
    collector_gathering,
    collector_request,
    process,
)
from tests.main.conftest import ROOT, until

REQUEST_ID = "2f1c7a52-4f0e-4d0c-9d5e-9f4c51c3b0a1"


@pytest.mark.parametrize("collector", [collector_1, collector_2, collector_3])
def test_a_collector_is_a_plain_function_that_finds_integers(collector: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = collector("python", REQUEST_ID)
    assert found
    assert all(type(item) is int for item in found)
    assert REQUEST_ID in caplog.text


def test_gathering_flattens() -> None:
    assert collector_gathering([[1, 2], [], [3, "x"]], REQUEST_ID) == [1, 2, 3, "x"]


def test_cleanup_drops_what_is_not_an_integer_and_logs_how_many(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert cleanup([1, "2", None, True, 3.0, 4], REQUEST_ID) == [1, 4]
    assert f"[{REQUEST_ID}] cleaned up: 4 of 6 items dropped" in caplog.text


def test_process_counts_prints_and_logs(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.INFO):
        assert process([1, 4], REQUEST_ID) == {"request_id": REQUEST_ID, "item_count": 2}
    assert f"[{REQUEST_ID}] processed 2 items" in caplog.text
    assert capsys.readouterr().out == f"request {REQUEST_ID}: 2 items\n"


def test_every_task_is_registered_under_its_own_name() -> None:
    app.loader.import_default_modules()
    ours = {name for name in app.tasks if name.startswith("main.")}
    assert ours == {
        f"main.{'tasks_async' if name in ('clean_data', 'create_project') else 'tasks_collectors'}.{name}"
        for name in tasks.__all__
    }


class Workflow:
    """A worker of the application, and what it came to."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def ask(self, topic: str) -> str:
        """Send ``collector_request``, and return the request's id as the task returns it."""
        return str(collector_request.delay(topic).get(timeout=20))

    def report(self, request_id: str) -> Report:
        return collectors.get(request_id).wait(timeout=30)

    def log(self) -> str:
        return self._log.read_text(errors="replace")


def _environment(broker: str, backend: str) -> dict[str, str]:
    return {"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": backend, "COLLECTORS_LEDGER": backend}


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.heavy)])
def servers(request: pytest.FixtureRequest) -> dict[str, str]:
    """Valkey as both, or RabbitMQ and Redis, as the original has them."""
    if request.param == "rabbitmq":
        amqp_url, redis_url = (request.getfixturevalue(name) for name in ("amqp_url", "redis_url"))
        return _environment(amqp_url, redis_url)
    socket = request.getfixturevalue("collectors_server")
    redis.Redis(unix_socket_path=str(socket)).flushall()
    return _environment(*(f"redis+socket://{socket}?virtual_host={number}" for number in (0, 1)))


@pytest.fixture
def workflow(servers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workflow]:
    """The application at work, under a name of the test's own for its queue and keys."""
    name = f"main-test-{uuid.uuid4().hex[:8]}"
    settings = {"prefix": f"collectors:{name}", "queue": f"collectors.{name}.v1"}
    for variable, value in servers.items():
        monkeypatch.setenv(variable, value)
    was, app.conf.task_default_queue = app.conf.task_default_queue, name
    _forget_connections()
    collectors.configure(ledger=servers["COLLECTORS_LEDGER"], **settings)
    env = os.environ | servers | {f"COLLECTORS_{key.upper()}": value for key, value in settings.items()}
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "celery", "-A", "main.celery_app", "worker", "-c", "2", "-n", f"{name}@test"]
    command += ["-l", "INFO", "--without-gossip", "--without-mingle", "-Q", f"{name},{settings['queue']}"]
    log = tmp_path / "worker.log"
    with log.open("wb") as out:
        worker = subprocess.Popen(command, env=env, cwd=ROOT, stdout=out, stderr=out)
    try:
        until(collectors.workers, "the worker reports itself")
        yield Workflow(log)
    finally:
        worker.kill()
        worker.wait(10)
        collectors.configure(ledger=None, **dict.fromkeys(settings))
        app.conf.task_default_queue = was
        _forget_connections()


def _forget_connections() -> None:
    """Let the app look at its environment again."""
    app.__dict__.pop("amqp", None)
    pools.reset()
    app._pool = None
    app._local.__dict__.pop("backend", None)
    app._backend_cache = None


def test_the_workflow_from_request_to_result(workflow: Workflow) -> None:
    request_id = workflow.ask("python")
    report = workflow.report(request_id)
    assert report.state == "complete"
    assert report.topic == "python"
    assert list(report.outcomes) == ["collector_1", "collector_2", "collector_3"]
    assert set(report.stages) == {"gathering", "cleanup", "process"}
    items = sum(outcome.items for outcome in report.outcomes.values())
    assert report.result == {"request_id": request_id, "item_count": items}
    assert AsyncResult(request_id, app=app).get(timeout=10) == report.result
    until(lambda: f"[{request_id}] processed {items} items" in workflow.log(), "the log has the request's id")


def test_delivered_twice_it_asks_once(workflow: Workflow) -> None:
    """The second delivery makes up an id of its own, and returns the first one's."""
    task_id = str(uuid.uuid4())
    first = collector_request.apply_async(("python",), task_id=task_id).get(timeout=20)
    sent = collector_request.apply_async(("python",), task_id=task_id, headers={"again": True})
    done = f"collector_request[{task_id}] succeeded"
    until(lambda: workflow.log().count(done) == 2, "the second delivery is done, too")
    assert sent.get(timeout=20) == first
    assert workflow.report(first).state == "complete"
    assert [summary.request_id for summary in collectors.list().requests] == [first]
