"""Requests of three async collectors that wait for a second each, and three stages."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any

from benchmarks.flows import work
from benchmarks.flows.guest import guest

WAIT_S = float(os.environ["BENCH_WAIT_S"])

app, collectors = guest()


async def collector(topic: str, request_id: str) -> list[int]:
    """A source that lets one wait."""
    await asyncio.sleep(WAIT_S)
    return work.collected("collector", topic, request_id)


for name in work.SOURCES:
    collectors.collector(name=name)(collector)


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


def collector_request(topic: str) -> str:
    """Ask for a topic."""
    return collectors.request(topic).id
