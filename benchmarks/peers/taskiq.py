"""taskiq on a Redis list or stream, as the environment says; it has no fan-in, so a counter by hand stands for one."""

from __future__ import annotations

import os
import uuid
from typing import Any

from redis.asyncio import Redis
from taskiq_redis import ListQueueBroker, RedisStreamBroker

from benchmarks.flows import work
from benchmarks.peers.barrier import arrived

REDIS_URL = os.environ["CELERY_RESULT_BACKEND"]
BROKERS: dict[str, Any] = {"list": ListQueueBroker, "stream": RedisStreamBroker}

broker = BROKERS[os.environ["BENCH_BROKER"]](REDIS_URL, queue_name=os.environ["BENCH_QUEUE"])
counters = Redis.from_url(REDIS_URL)


@broker.task
async def collector(name: str, topic: str, request_id: str) -> None:
    """A source; the last one to answer calls for the gathering."""
    results = await arrived(counters, request_id, work.collected(name, topic, request_id))
    if results is not None:
        await gathering.kiq(request_id, results)


@broker.task
async def gathering(request_id: str, results: list[list[int]]) -> None:
    """Join what they found."""
    await cleanup.kiq(request_id, work.gathered(results, request_id))


@broker.task
async def cleanup(request_id: str, items: list[int]) -> None:
    """Drop what is not an integer."""
    await process.kiq(request_id, work.cleaned(items, request_id))


@broker.task
async def process(request_id: str, items: list[int]) -> None:
    """Count what is left."""
    work.processed(items, request_id)


async def collector_request(topic: str) -> str:
    """Ask for a topic."""
    if not getattr(broker, "has_started", False):
        await broker.startup()
        broker.has_started = True
    request_id = str(uuid.uuid4())
    for name in work.SOURCES:
        await collector.kiq(name, topic, request_id)
    return request_id
