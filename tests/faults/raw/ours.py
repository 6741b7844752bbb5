"""The same workflow with one import changed, and its stages declared."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from celery import group

from celery_collectors import Collectors, chord
from tests.faults.raw import sources
from tests.integration.apps import make_app

app = make_app(os.environ["FAULTS_APP"])
collectors = Collectors(app)


@app.task(name="ask")
def ask(request_id: str, how: str) -> None:
    """Ask the three sources."""
    header = group(collect.s(name, request_id, how) for name in sources.NAMES)
    chord(header, request_id=request_id, deadline=float(os.environ["FAULTS_DEADLINE_S"]))(gathering.s())


@app.task(name="collect")
def collect(name: str, request_id: str, how: str) -> list[str]:
    return sources.read(name, request_id, how)


@collectors.gathering
def gathering(results: Iterable[list[Any]]) -> list[Any]:
    return sources.joined(results)


@collectors.cleanup
def cleanup(items: Iterable[Any]) -> Iterable[Any]:
    return items


@collectors.process
def process(items: Iterable[Any], request_id: str) -> dict[str, Any]:
    return sources.answer(request_id, items)
