"""dramatiq on RabbitMQ: a group with a completion callback, which begins a pipeline; results by Redis."""

from __future__ import annotations

import os
import uuid
from typing import Any

import dramatiq
from dramatiq import Message, group, pipeline
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as Counters
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.flows import work

REDIS_URL = os.environ["CELERY_RESULT_BACKEND"]
QUEUE = os.environ["BENCH_QUEUE"]

URL = os.environ["CELERY_BROKER_URL"]

broker = RabbitmqBroker(url=URL.removesuffix("//") + "/%2F" if URL.endswith("//") else URL)  # pika knows no "//"
broker.add_middleware(GroupCallbacks(Counters(url=REDIS_URL)))
broker.add_middleware(Results(backend=RedisBackend(url=REDIS_URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE, store_results=True)
def collector(name: str, topic: str, request_id: str) -> list[int]:
    """A source."""
    return work.collected(name, topic, request_id)


@dramatiq.actor(queue_name=QUEUE)
def gathering(request_id: str, messages: list[dict[str, Any]]) -> list[int]:
    """Join what they found."""
    return work.gathered([Message(**message).get_result(block=True) for message in messages], request_id)


@dramatiq.actor(queue_name=QUEUE)
def cleanup(request_id: str, items: list[int]) -> list[int]:
    """Drop what is not an integer."""
    return work.cleaned(items, request_id)


@dramatiq.actor(queue_name=QUEUE)
def process(request_id: str, items: list[int]) -> None:
    """Count what is left."""
    work.processed(items, request_id)


def collector_request(topic: str) -> str:
    """Ask for a topic."""
    request_id = str(uuid.uuid4())
    collecting = [collector.message(name, topic, request_id) for name in work.SOURCES]
    stages = pipeline([
        gathering.message(request_id, [message.asdict() for message in collecting]),
        cleanup.message(request_id),
        process.message(request_id),
    ])  # fmt: skip
    members = group(collecting)
    members.add_completion_callback(stages.messages[0])
    members.run()
    return request_id
