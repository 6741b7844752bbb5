"""The workflow: a request fans out to three collectors; what arrived is gathered, cleaned and processed.

``collector_request`` → ``collector_1``, ``collector_2``, ``collector_3`` in a group → ``collector_gathering`` as the
callback → ``cleanup`` → ``process``. Every one is a Celery task under its own name, and a plain function when called.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Iterable
from typing import Any

from celery import group

from celery_collectors import chord
from main.celery_app import app, collectors

log = logging.getLogger(__name__)

DEADLINE_S = 30.0


def generate_collector_request(topic: str) -> str:
    """Return a new request's id, a random UUID."""
    request_id = str(uuid.uuid4())
    log.info("[%s] a request for %r", request_id, topic)
    return request_id


@app.task(acks_late=True, reject_on_worker_lost=True)  # safe, because a second delivery asks nothing anew
def collector_request(topic: str) -> str:
    """Ask all collectors about a topic, and return the request's id; delivered twice, it asks once."""
    request_id = generate_collector_request(topic)
    header = group(
        collector_1.s(topic, request_id),
        collector_2.s(topic, request_id),
        collector_3.s(topic, request_id),
    )
    asked = chord(header, deadline=DEADLINE_S, request_id=request_id, topic=topic)(collector_gathering.s(request_id))
    return str(asked.request_id)


@collectors.collector(retries=2)
def collector_1(topic: str, request_id: str) -> list[int]:
    """The first source."""
    return _numbers("collector_1", topic, request_id)


@collectors.collector(retries=2)
def collector_2(topic: str, request_id: str) -> list[int]:
    """The second source."""
    return _numbers("collector_2", topic, request_id)


@collectors.collector(retries=2)
def collector_3(topic: str, request_id: str) -> list[int]:
    """The third source."""
    return _numbers("collector_3", topic, request_id)


def _numbers(name: str, topic: str, request_id: str) -> list[int]:
    """What stands for a source's answer: between 1 and 10 random integers."""
    found = [random.randint(0, 100) for _ in range(random.randint(1, 10))]
    log.info("[%s] %s found %d items about %r", request_id, name, len(found), topic)
    return found


@collectors.gathering
def collector_gathering(results: Iterable[Iterable[Any]], request_id: str) -> list[Any]:
    """Join the collectors' lists into one."""
    joined = [item for result in results for item in result]
    log.info("[%s] gathered %d items", request_id, len(joined))
    return joined


@collectors.cleanup
def cleanup(data: Iterable[Any], request_id: str) -> list[int]:
    """Drop what is not an integer."""
    items = list(data)
    kept = [item for item in items if isinstance(item, int) and not isinstance(item, bool)]
    log.info("[%s] cleaned up: %d of %d items dropped", request_id, len(items) - len(kept), len(items))
    return kept


@collectors.process
def process(data: Iterable[int], request_id: str) -> dict[str, Any]:
    """Count what is left; the request's result."""
    count = sum(1 for _ in data)
    log.info("[%s] processed %d items", request_id, count)
    print(f"request {request_id}: {count} items")  # noqa: T201 - the original's way of showing its result
    return {"request_id": request_id, "item_count": count}
