"""``conda/base.yaml``, the ``Dockerfile`` and ``deploy/compose.yaml``, checked without conda and without containers."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from celery_collectors.up.parts import FLOWER_COLUMNS as COLUMNS
from main.scripts.servers import RABBITMQ, REDIS
from tests.main.conftest import ROOT, until

# Names that exist in the channel conda-forge; `redis` is Python's client in some channels, the server in others.
SERVERS = {"rabbitmq-server", "redis-server"}


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's steps: each one's word, and what follows."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def _is_sent(path: str) -> bool:
    """Whether ``.dockerignore`` lets a file of the root through: the last rule that matches decides."""
    sent, parts = True, path.split("/")
    for rule in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        anywhere, pattern = "**/" in rule, rule.removeprefix("!").removeprefix("**/")
        if any(fnmatch(part, pattern) for part in (parts if anywhere else parts[:1])):
            sent = rule.startswith("!")
    return sent


# conda


def test_conda_makes_the_originals_environment() -> None:
    made = yaml.safe_load((ROOT / "conda" / "base.yaml").read_text(encoding="utf-8"))
    assert set(made) == {"name", "channels", "dependencies"}
    assert (made["name"], made["channels"]) == ("celery-collectors", ["conda-forge"])
    *packages, by_pip = made["dependencies"]
    assert {"pip", *SERVERS} <= set(packages)
    (python,) = [package.removeprefix("python=") for package in packages if package.startswith("python=")]
    lowest = _project()["project"]["requires-python"].removeprefix(">=")
    assert [int(part) for part in python.split(".")] >= [int(part) for part in lowest.split(".")]
    assert set(by_pip) == {"pip"}


def test_condas_paths_lead_from_its_own_folder_to_this_project() -> None:
    lines = yaml.safe_load((ROOT / "conda" / "base.yaml").read_text(encoding="utf-8"))["dependencies"][-1]["pip"]
    options = dict(line.split(" ", 1) for line in lines)
    assert (ROOT / "conda" / options["-c"]).resolve() == ROOT / "constraints.txt"
    path, _, extras = options["-e"].removesuffix("]").partition("[")
    assert (ROOT / "conda" / path).resolve() == ROOT
    assert set(extras.split(",")) <= set(_project()["project"]["optional-dependencies"])


# Compose


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    assert set(found["volumes"]) == {"rabbitmq", "redis", "data"}
    return dict(found["services"])


def test_compose_has_the_four_and_they_find_each_other(services: dict[str, Any]) -> None:
    assert set(services) == {"rabbitmq", "redis", "worker", "flower"}
    for name in ("worker", "flower"):
        service = services[name]
        assert (ROOT / "deploy" / service["build"]["context"]).resolve() == ROOT
        assert service["environment"]["CELERY_BROKER_URL"] == RABBITMQ.url.format(host="rabbitmq")
        assert service["environment"]["CELERY_RESULT_BACKEND"] == REDIS.url.format(host="redis")
        assert set(service["depends_on"]) == {"rabbitmq", "redis"}
    for name in services:
        assert services[name]["restart"] == "unless-stopped"  # one that Flower shuts down comes back
    assert all("healthcheck" in services[name] for name in ("rabbitmq", "redis"))


def test_composes_redis_keeps_what_it_was_told(services: dict[str, Any]) -> None:
    command = services["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert services["redis"]["volumes"] == ["redis:/data"]


def test_composes_flower_has_a_password_and_is_on_this_machine_only(services: dict[str, Any]) -> None:
    environment = services["flower"]["environment"]
    assert re.fullmatch(
        r"\$\{FLOWER_BASIC_AUTH:\?.+\}", environment["FLOWER_BASIC_AUTH"]
    )  # or Compose refuses to start
    assert "FLOWER_UNAUTHENTICATED_API" not in environment
    assert environment["FLOWER_TASKS_COLUMNS"] == COLUMNS
    assert services["flower"]["ports"] == ["127.0.0.1:5555:5555"]
    assert "--conf=/dev/null" in services["flower"]["command"]
    assert not [name for name in ("rabbitmq", "redis", "worker") if "ports" in services[name]]


# The image


def test_the_image_gets_what_it_needs_and_no_secret() -> None:
    copied = [word for step, rest in _instructions() if step == "COPY" for word in rest.split()[:-1]]
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert _is_sent(name)
    assert not [
        name
        for name in (".git", ".env", ".venv", "data", "tests", "src/celery_collectors/__pycache__")
        if _is_sent(name)
    ]


def test_the_image_does_not_run_as_root_and_its_worker_hears_sigterm() -> None:
    steps = _instructions()
    assert [rest for step, rest in steps if step == "USER"][-1] == "collectors"
    assert json.loads(dict(steps)["CMD"])[0] == "celery"  # a list: without a shell in between


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Path]:
    """The image's folder, as the Dockerfile's COPY and pip make it, with a clean virtual environment for its Python."""
    app = tmp_path / "app"
    app.mkdir()
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    for step, rest in _instructions():
        if step == "COPY":
            *sources, to = rest.split()
            for source in sources:
                _copy(source, app / to / (source if to == "./" else ""))
        elif step == "RUN" and rest.startswith("pip "):
            command = [tmp_path / "venv" / "bin" / "pip", *shlex.split(rest)[1:]]
            subprocess.run([arg for arg in command if arg != "--no-cache-dir"], cwd=app, check=True, timeout=300)
    yield app
    shutil.rmtree(app)


def _copy(source: str, to: Path) -> None:
    if (ROOT / source).is_dir():
        shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(ROOT / source, to)


@pytest.mark.heavy
@pytest.mark.timeout(400)
def test_the_dockerfiles_steps_give_a_worker_and_a_flower(
    built: Path, tmp_path: Path, services: dict[str, Any], amqp_url: str, redis_url: str
) -> None:
    """Without what the developer has: nothing is imported but what pip installed there, and ``main``."""
    env = {
        "PATH": f"{tmp_path}/venv/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "CELERY_BROKER_URL": amqp_url,
        "CELERY_RESULT_BACKEND": redis_url,
    }
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        command = json.loads(dict(_instructions())["CMD"])
        worker = subprocess.Popen(command, cwd=built, env=env, stdout=output, stderr=output)
    try:
        until(lambda: " ready." in log.read_text() or worker.poll() is not None, "the worker is ready")
        assert worker.poll() is None, log.read_text()
        assert "task events: ON" in log.read_text()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    finally:
        worker.kill()
    flower = [*services["flower"]["command"][:4], "--help"]
    said = subprocess.run(flower, cwd=built, env=env, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "Web based tool for monitoring and administrating Celery clusters" in said
