"""saq on Redis; it has no fan-in that needs no waiting job, so a counter by hand stands for one."""

from __future__ import annotations

import os
import uuid
from typing import Any

from saq import Queue

from benchmarks.flows import work
from benchmarks.peers.barrier import arrived

queue = Queue.from_url(os.environ["CELERY_RESULT_BACKEND"], name=os.environ["BENCH_QUEUE"])


async def collector(_context: Any, *, name: str, topic: str, request_id: str) -> None:
    """A source; the last one to answer calls for the gathering."""
    results = await arrived(queue.redis, request_id, work.collected(name, topic, request_id))
    if results is not None:
        await queue.enqueue("gathering", request_id=request_id, results=results)


async def gathering(_context: Any, *, request_id: str, results: list[list[int]]) -> None:
    """Join what they found."""
    await queue.enqueue("cleanup", request_id=request_id, items=work.gathered(results, request_id))


async def cleanup(_context: Any, *, request_id: str, items: list[int]) -> None:
    """Drop what is not an integer."""
    await queue.enqueue("process", request_id=request_id, items=work.cleaned(items, request_id))


async def process(_context: Any, *, request_id: str, items: list[int]) -> None:
    """Count what is left."""
    work.processed(items, request_id)


settings = {"queue": queue, "functions": [collector, gathering, cleanup, process]}


async def collector_request(topic: str) -> str:
    """Ask for a topic."""
    request_id = str(uuid.uuid4())
    for name in work.SOURCES:
        await queue.enqueue("collector", name=name, topic=topic, request_id=request_id)
    return request_id
