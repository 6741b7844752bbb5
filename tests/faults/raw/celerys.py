"""The workflow on Celery's own ``chord``, as the original proof of concept had it: each stage sends the next."""

from __future__ import annotations

import os
from typing import Any

from celery import chord, group

from tests.faults.raw import sources
from tests.integration.apps import make_app

app = make_app(os.environ["FAULTS_APP"])
THEN = f"{app.conf.task_default_queue}.then"
app.conf.task_routes = {name: {"queue": THEN} for name in ("gathering", "cleanup", "process")}
if os.environ.get("FAULTS_ACKS_LATE"):
    app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)


@app.task(name="ask")
def ask(request_id: str, how: str) -> None:
    """Ask the three sources."""
    chord(group(collect.s(name, request_id, how) for name in sources.NAMES))(gathering.s(request_id))


@app.task(name="collect")
def collect(name: str, request_id: str, how: str) -> list[str]:
    return sources.read(name, request_id, how)


@app.task(name="gathering")
def gathering(results: list[list[Any]], request_id: str) -> None:
    cleanup.delay(sources.joined(results), request_id)


@app.task(name="cleanup")
def cleanup(items: list[Any], request_id: str) -> None:
    process.delay(items, request_id)


@app.task(name="process")
def process(items: list[Any], request_id: str) -> dict[str, Any]:
    return sources.answer(request_id, items)
