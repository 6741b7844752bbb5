"""huey on Redis: its own chord, with the stages behind it; no results are kept that nobody reads."""

from __future__ import annotations

import os
import uuid

from huey import RedisHuey, group

from benchmarks.flows import work

huey = RedisHuey(os.environ["BENCH_QUEUE"], url=os.environ["CELERY_RESULT_BACKEND"], results=False)


@huey.task()
def collector(name: str, topic: str, request_id: str) -> list[int]:
    """A source."""
    return work.collected(name, topic, request_id)


@huey.task()
def gathering(request_id: str, results: list[list[int]]) -> list[int]:
    """Join what they found."""
    return work.gathered(results, request_id)


@huey.task()
def cleanup(request_id: str, items: list[int]) -> list[int]:
    """Drop what is not an integer."""
    return work.cleaned(items, request_id)


@huey.task()
def process(request_id: str, items: list[int]) -> None:
    """Count what is left."""
    work.processed(items, request_id)


def collector_request(topic: str) -> str:
    """Ask for a topic."""
    request_id = str(uuid.uuid4())
    members = group([collector.s(name, topic, request_id) for name in work.SOURCES])
    huey.enqueue(members.then(gathering, request_id).then(cleanup, request_id).then(process, request_id))
    return request_id
