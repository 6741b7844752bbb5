"""Flower beside a worker, on RabbitMQ and Redis: what its pages show, and what its buttons do."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest

from celery_collectors import Collectors, Request
from tests.main import slow_app
from tests.main.conftest import Flower, Seat, Started, free_port, make_seat, until

pytestmark = pytest.mark.heavy

NAME = "tests.main.slow_app"
BUTTONS = [
    "/api/worker/shutdown/x",
    "/api/worker/pool/restart/x",
    "/api/worker/pool/grow/x",
    "/api/worker/queue/add-consumer/x",
    "/api/task/revoke/x?terminate=true",
    "/api/task/apply/x",
    "/api/task/async-apply/x",
    "/api/task/send-task/x",
    "/api/task/rate-limit/x",
]


@pytest.fixture(scope="module")
def site() -> Iterator[Seat]:
    """One user for the whole module."""
    found = make_seat()
    yield found
    shutil.rmtree(found.folder, ignore_errors=True)


@contextmanager
def _started(seat: Seat, app: str, env: dict[str, str]) -> Iterator[tuple[Started, Flower]]:
    port = free_port()
    with seat.started("--port", str(port), "--app", app, "--", "-c", "3", **env) as running:
        running.says("ready: Flower answers")
        yield running, Flower(port, seat.login_file.read_text(encoding="utf-8").strip())


@pytest.fixture(scope="module")
def env(amqp_url: str, redis_url: str) -> dict[str, str]:
    return {"CELERY_BROKER_URL": amqp_url, "CELERY_RESULT_BACKEND": redis_url}


@pytest.fixture(scope="module")
def pair(site: Seat, env: dict[str, str]) -> Iterator[tuple[Started, Flower]]:
    with _started(site, NAME, env) as started:
        yield started


@pytest.fixture(scope="module")
def running(pair: tuple[Started, Flower]) -> Started:
    return pair[0]


@pytest.fixture(scope="module")
def flower(pair: tuple[Started, Flower]) -> Flower:
    return pair[1]


@pytest.fixture(scope="module")
def collectors(env: dict[str, str]) -> Iterator[Collectors]:
    """The test's own side of the slow app."""
    slow_app.app.conf.update(broker_url=env["CELERY_BROKER_URL"], result_backend=env["CELERY_RESULT_BACKEND"])
    yield slow_app.collectors
    slow_app.collectors.close()


def _worker(flower: Flower) -> str:
    (name,) = flower.json("/api/workers?refresh=1")
    return str(name)


def _tasks(flower: Flower, request_id: str, *, are: Callable[[dict[str, str]], bool]) -> list[dict[str, Any]]:
    """A request's tasks as Flower lists them, once their names and states are as wanted."""

    def look() -> list[dict[str, Any]] | None:
        mine = list(flower.json(f"/api/tasks?search=kwargs:request_id={request_id}").values())
        return mine if are({task["name"]: task["state"] for task in mine}) else None

    shown: list[dict[str, Any]] = until(look, f"Flower shows request {request_id} as wanted")
    return shown


def _task(flower: Flower, request: Request, name: str, state: str) -> dict[str, Any]:
    shown = _tasks(flower, request.id, are=lambda states: states.get(f"{NAME}.{name}") == state)
    return next(task for task in shown if task["name"] == f"{NAME}.{name}")


def test_the_worker_is_shown_with_our_queue_and_collectors(flower: Flower) -> None:
    name = _worker(flower)
    about = flower.json("/api/workers")[name]
    assert name.startswith("main@")
    assert f"{NAME}.sleeps" in [task.split()[0] for task in about["registered"]]
    assert "collectors.slow.v1" in [queue["name"] for queue in about["active_queues"]]
    assert name in flower.text("/workers")


def test_each_run_and_stage_is_a_task_and_one_root_ties_them_together(flower: Flower, collectors: Collectors) -> None:
    first, second = collectors.request("0", deadline=30), collectors.request("0.1", deadline=30)
    assert first.wait(30).result == second.wait(30).result == 2
    for request in (first, second):
        shown = _tasks(
            flower,
            request.id,
            are=lambda states: list(states.values()) == ["SUCCESS"] * 3,
        )
        assert sorted(task["name"] for task in shown) == [f"{NAME}.{name}" for name in ("answers", "counts", "sleeps")]
        details = [flower.json(f"/api/task/info/{task['uuid']}") for task in shown]
        assert {task["root_id"] for task in details} == {request.id}
        assert {task["kwargs"] for task in details} == {f"{{'request_id': '{request.id}'}}"}


def test_the_page_of_tasks_has_their_kwargs_and_finds_a_request_by_them(flower: Flower, collectors: Collectors) -> None:
    request = collectors.request("0", deadline=30)
    request.wait(30)
    _task(flower, request, "counts", "SUCCESS")
    columns = re.findall(r'<th data-column="(\w+)"', flower.text("/tasks"))
    assert {"name", "kwargs", "state"} <= set(columns)
    query = urlencode(
        {
            "draw": 1,
            "start": 0,
            "length": 50,
            "order[0][column]": 0,
            "columns[0][data]": "name",
            "search[value]": f"kwargs:request_id={request.id}",
        }
    )
    rows = flower.json(f"/tasks/datatable?{query}")["data"]
    assert [row["name"] for row in rows] == [f"{NAME}.{name}" for name in ("answers", "counts", "sleeps")]


def test_a_task_that_is_revoked_while_it_runs_cancels_its_run(flower: Flower, collectors: Collectors) -> None:
    request = collectors.request("100", deadline=60)
    task = _task(flower, request, "sleeps", "STARTED")
    asked_s = time.monotonic()
    flower.json(f"/api/task/revoke/{task['uuid']}?terminate=true", "POST")
    report = request.wait(30)
    assert {name: outcome.state for name, outcome in report.outcomes.items()}["sleeps"] == "cancelled"
    assert report.outcomes["answers"].state == "ok"
    assert (report.state, report.result) == ("partial", 1)
    assert time.monotonic() - asked_s < 15


def test_a_worker_that_is_shut_down_is_back_within_10_s(
    running: Started, flower: Flower, collectors: Collectors
) -> None:
    before = running.main_process(" worker ")
    asked_s = time.monotonic()
    flower.json(f"/api/worker/shutdown/{_worker(flower)}", "POST")
    request = collectors.request("0", deadline=30)  # it waits in the queue
    running.says("the worker ended with status 0: started again")
    running.says("main@.* ready", times=2)
    assert time.monotonic() - asked_s < 10
    assert request.wait(30).state == "complete"
    assert running.main_process(" worker ") != before


def test_a_pool_is_restarted_by_its_button(running: Started, flower: Flower, collectors: Collectors) -> None:
    """It is refused where ``worker_pool_restarts`` is off."""
    before = running.main_process(" worker ")
    flower.json(f"/api/worker/pool/restart/{_worker(flower)}", "POST")
    assert collectors.request("0", deadline=30).wait(30).state == "complete"
    assert running.main_process(" worker ") == before


def test_without_the_password_its_buttons_answer_401(flower: Flower) -> None:
    port = int(flower.url.rpartition(":")[2])
    for login in (None, "collectors:wrong"):
        stranger = Flower(port, login)
        assert {stranger.status(path, "POST") for path in BUTTONS} == {401}
        assert {stranger.status(path) for path in ("/", "/workers", "/tasks", "/api/workers", "/api/tasks")} == {401}


def test_flower_is_only_on_loopback(running: Started, flower: Flower) -> None:
    listening = {
        c.laddr.ip for p in running.processes(" flower ") for c in p.net_connections("inet") if c.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}
