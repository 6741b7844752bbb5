"""How a worker, Flower and the page are started for an app whose servers the environment names."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

HOST = "127.0.0.1"
_OF_THE_PAGE = ("fastapi", "jinja2", "prometheus_client", "uvicorn")

# What a request is known by is in kwargs, which Flower 2.2 leaves out unless it is asked for.
FLOWER_COLUMNS = "name,uuid,state,args,kwargs,result,received,started,runtime,worker"

# The first two are Celery's --broker and --result-backend, and would win over the servers that we chose. The others
# would open Flower to every web page, have it run a file, or move it; where it listens is said by options, and what a
# Kubernetes service of that name puts into FLOWER_PORT (tcp://…) would end it.
_NOT_PASSED_ON = {
    "BROKER_URL", "RESULT_BACKEND", "FLOWER_BASIC_AUTH", "FLOWER_UNAUTHENTICATED_API", "FLOWER_CONF",
    "FLOWER_UNIX_SOCKET", "FLOWER_URL_PREFIX", "FLOWER_CERTFILE", "FLOWER_KEYFILE", "FLOWER_PORT", "FLOWER_ADDRESS",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process of the set.

    Attributes:
        name: For sentences: ``the worker``.
        label: What its lines begin with.
        argv: What to run.
        env: Its whole environment.
    """

    name: str
    label: str
    argv: Sequence[str]
    env: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What was said about the workers; ``more`` are arguments of ``celery worker``, which win over all others."""

    concurrency: int
    pool: str = "prefork"
    banner: bool = False
    more: Sequence[str] = ()


def worker(app: str, node: str, options: WorkerOptions, *, number: int | None = None) -> Part:
    """A Celery worker.

    Args:
        app: How Celery finds the app.
        node: Its name among workers, without the host.
        options: Its slots and arguments.
        number: Which one of several.
    """
    said = ["-n", f"{node}@%h", "--loglevel", "INFO", "--task-events"]
    pool = ["--pool", options.pool, "--concurrency", str(options.concurrency)]
    return Part(
        name=f"worker {number}" if number else "the worker",
        label=f"worker-{number}" if number else "worker",
        argv=[*_celery(app), *([] if options.banner else ["--quiet"]), "worker", *said, *pool, *options.more],
        env=_environment(),
    )


def flower(app: str, *, host: str, port: int, login: str) -> Part:
    """Flower; an empty ``--conf``, because by default it executes a ``flowerconfig.py`` of the current folder."""
    options = [f"--address={host}", f"--port={port}", f"--conf={os.devnull}"]
    columns = {"FLOWER_TASKS_COLUMNS": FLOWER_COLUMNS}
    env = columns | _environment() | {"FLOWER_BASIC_AUTH": login}
    return Part(name="Flower", label="flower", argv=[*_celery(app), "flower", *options], env=env)


def web(app: str, *, port: int, flower_port: int | None) -> Part:
    """The page; it links tasks to the Flower that runs beside it."""
    command = [sys.executable, "-P", "-m", "celery_collectors.cli", "--app", app, "web"]
    options = ["--host", HOST, "--port", str(port)]
    if flower_port is not None:
        options += ["--flower", f"http://{HOST}:{flower_port}"]
    return Part(name="the page", label="web", argv=[*command, *options], env=_environment())


def has_flower() -> bool:
    """Whether the extra ``flower`` is installed."""
    return find_spec("flower") is not None


def has_web() -> bool:
    """Whether the extra ``web`` is installed, all of it: an app may have brought a part for itself."""
    return all(find_spec(name) for name in _OF_THE_PAGE) and find_spec("celery_collectors.web") is not None


def _celery(app: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", app]


def _environment() -> dict[str, str]:
    """Ours; the password of Flower is for Flower only."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
