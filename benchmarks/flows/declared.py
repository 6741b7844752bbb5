"""This package as its README has it: three declared collectors and three stages, asked by ``collectors.request``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.flows import work
from benchmarks.flows.guest import guest

app, collectors = guest()


@collectors.collector
def collector_1(topic: str, request_id: str) -> list[int]:
    """The first source."""
    return work.collected("collector_1", topic, request_id)


@collectors.collector
def collector_2(topic: str, request_id: str) -> list[int]:
    """The second source."""
    return work.collected("collector_2", topic, request_id)


@collectors.collector
def collector_3(topic: str, request_id: str) -> list[int]:
    """The third source."""
    return work.collected("collector_3", topic, request_id)


@collectors.gathering
def gathering(results: Iterable[Iterable[int]], request_id: str) -> list[int]:
    """Join what they found."""
    return work.gathered(results, request_id)


@collectors.cleanup
def cleanup(items: Iterable[int], request_id: str) -> list[int]:
    """Drop what is not an integer."""
    return work.cleaned(items, request_id)


@collectors.process
def process(items: Iterable[int], request_id: str) -> dict[str, Any]:
    """Count what is left."""
    return work.processed(items, request_id)


@app.task(ignore_result=True)
def collector_request(topic: str) -> str:
    """Ask for a topic."""
    return collectors.request(topic).id
