"""``docs/how-to/original.md``: every line of it that can run here runs; the others are what the files say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from main.scripts.servers import RABBITMQ, REDIS
from tests.main.conftest import ROOT, Flower, Seat, Started, forwarded, free_port, make_seat, until

DOCUMENT = (ROOT / "docs" / "how-to" / "original.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"^```bash\n(.*?)^```", DOCUMENT, re.S | re.M) for line in block.splitlines()]

CONDA = ["conda env create -f conda/base.yaml", "conda activate celery-collectors"]
DOCKER_RUN = [
    "docker run --name rabbitmq -d -p 5672:5672 rabbitmq",
    "docker run --name redis -d -p 6379:6379 redis",
]
START = "main/scripts/start_celery_and_flower.sh"
CALL = """celery -A main.celery_app call main.tasks_collectors.collector_request --args '["python"]'"""
CURL = 'curl -u "$(cat ~/.local/state/celery-collectors/flower-login)" http://127.0.0.1:5555/api/workers'
PYTEST = "pytest -vvv tests/"
COLLECT = "collectors --app main.celery_app collect python"
TEST = "scripts/test"
COMPOSE = [
    "export FLOWER_BASIC_AUTH=collectors:$(openssl rand -hex 16)",
    "docker compose -f deploy/compose.yaml up --build",
]
WORKFLOW = ["collector_1", "collector_2", "collector_3", "collector_gathering", "cleanup", "process"]


def test_every_line_of_the_document_is_looked_at_here_in_its_order() -> None:
    """A new one is to be run below, or to be said not to be."""
    assert [*CONDA, *DOCKER_RUN, START, CALL, CURL, PYTEST, START, COLLECT, TEST, *COMPOSE] == LINES


# What needs conda or a container engine


def test_conda_is_given_a_file_that_makes_the_environment_of_that_name() -> None:
    path = ROOT / CONDA[0].split()[-1]
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == CONDA[1].split()[-1]


def test_the_containers_are_those_that_the_script_looks_for() -> None:
    for line, kind in zip(DOCKER_RUN, (RABBITMQ, REDIS), strict=True):
        words = shlex.split(line)
        assert words[words.index("--name") + 1] == kind.container
        assert words[words.index("-p") + 1] == f"{kind.port}:{kind.port}"
        assert kind.how_to_run.startswith(f"{line} ")


def test_compose_is_given_its_file_and_the_variable_that_it_asks_for() -> None:
    text = (ROOT / COMPOSE[1].split()[3]).read_text(encoding="utf-8")
    assert re.search(r"\$\{(\w+):\?", text).group(1) == COMPOSE[0].split()[1].partition("=")[0]  # type: ignore[union-attr]
    if shutil.which("openssl"):
        said = subprocess.run(["bash", "-c", f"{COMPOSE[0]}; env"], capture_output=True, text=True, check=True).stdout
        assert re.search(r"^FLOWER_BASIC_AUTH=collectors:[0-9a-f]{32}$", said, re.M)


# What runs


def _in_a_terminal(seat: Seat, line: str, **env: str) -> str:
    """What a line prints, typed in the clone with the environment activated."""
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=ROOT,
        env=seat.env | {"PATH": f"{Path(sys.prefix, 'bin')}:{seat.env['PATH']}"} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def site() -> Iterator[Seat]:
    """One user who keeps to the document, so with the state folder that it names."""
    found = make_seat()
    del found.env["XDG_STATE_HOME"]
    yield found
    shutil.rmtree(found.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def started(site: Seat, amqp_url: str, redis_url: str) -> Iterator[tuple[Started, int]]:
    """The third step, after the second: the containers' address leads to the tests' own servers."""
    address, port = f"127.{os.getpid() % 250 + 2}.8.10", free_port()
    site.docker(f"""[ "$1" = inspect ] && echo {address}""")
    with ExitStack() as held:
        for kind, url in ((RABBITMQ, amqp_url), (REDIS, redis_url)):
            there = urlsplit(url)
            assert there.hostname
            assert there.port
            if there.username not in (None, "guest"):
                pytest.skip("the RabbitMQ that was given knows no guest, whom the script takes for a container's")
            held.enter_context(forwarded((address, kind.port), (there.hostname, there.port)))
        running = held.enter_context(site.started("--port", str(port), script=ROOT / START))
        running.says("taking RabbitMQ at .* \\(container rabbitmq\\) and Redis at .* \\(container redis\\)")
        running.says("ready: Flower answers")
        yield running, port


@pytest.mark.heavy
def test_a_request_is_asked_for_and_flower_shows_the_workflow(site: Seat, started: tuple[Started, int]) -> None:
    running, port = started
    export = running.says("for another terminal: (export .*)")[1]
    task_id = _in_a_terminal(site, f"{export}; {CALL}").strip()
    found = running.says(rf"collector_request\[{task_id}\] succeeded in .*: '([0-9a-f-]{{36}})'")
    request_id = found[1]
    running.says(rf"request {request_id}: \d+ items")

    login = site.folder / ".local" / "state" / "celery-collectors" / "flower-login"
    flower = Flower(port, login.read_text(encoding="utf-8").strip())

    def shown() -> list[dict[str, str]]:
        tasks = list(flower.json(f"/api/tasks?search=kwargs:request_id={request_id}").values())
        return tasks if [task["state"] for task in tasks] == ["SUCCESS"] * len(WORKFLOW) else []

    tasks = until(shown, "Flower shows the six of them done")
    assert sorted(task["name"] for task in tasks) == sorted(f"main.tasks_collectors.{name}" for name in WORKFLOW)
    assert {task["root_id"] for task in tasks} == {request_id}


@pytest.mark.heavy
def test_flower_answers_in_a_terminal(site: Seat, started: tuple[Started, int]) -> None:
    if not shutil.which("curl"):
        pytest.skip("no curl here")
    said = _in_a_terminal(site, CURL.replace("5555", str(started[1])).replace("curl", "curl --silent", 1))
    (worker,) = json.loads(said)
    assert worker.startswith("main@")


@pytest.mark.heavy
def test_the_shorter_way_needs_nothing_else(seat: Seat) -> None:
    result = json.loads(_in_a_terminal(seat, COLLECT))
    assert set(result) == {"request_id", "item_count"}


def test_the_tests_can_start(seat: Seat) -> None:
    """They are this one's own, so they are only collected; a line of the way that runs them all."""
    said = _in_a_terminal(seat, f"{PYTEST} --collect-only -q -p no:cacheprovider")
    assert "tests/main/test_original_instructions.py::test_the_tests_can_start" in said or " tests collected" in said
    assert os.access(ROOT / TEST, os.X_OK)


def test_the_drawing_names_every_step() -> None:
    (drawing,) = re.findall(r"^```text\n(collector_request.*?)^```", DOCUMENT, re.S | re.M)
    places = [drawing.index(name) for name in WORKFLOW]
    assert places == sorted(places)
