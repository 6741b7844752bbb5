"""main's workflow on Celery's own ``chord``: the same functions as plain tasks, with a Celery user's settings.

As the original proof of concept had it: the callback sends ``cleanup``, which sends ``process``.
"""

from __future__ import annotations

import logging
import os
import random
import uuid
from typing import Any

from celery import Celery, chord, group

from benchmarks.journal import write_from

log = logging.getLogger(__name__)

app = Celery("bench_raw", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.update(  # as main's
    broker_connection_retry_on_startup=True,
    task_send_sent_event=True,
    worker_send_task_events=True,
    worker_pool_restarts=True,
)
app.conf.task_default_queue = os.environ["BENCH_QUEUE"]


@app.task
def collector_request(topic: str) -> str:
    """Ask all collectors about a topic, and return the request's id."""
    request_id = str(uuid.uuid4())
    log.info("[%s] a request for %r", request_id, topic)
    header = group(
        collector_1.s(topic, request_id),
        collector_2.s(topic, request_id),
        collector_3.s(topic, request_id),
    )
    chord(header)(collector_gathering.s(request_id))
    return request_id


@app.task
def collector_1(topic: str, request_id: str) -> list[int]:
    """The first source."""
    return _numbers("collector_1", topic, request_id)


@app.task
def collector_2(topic: str, request_id: str) -> list[int]:
    """The second source."""
    return _numbers("collector_2", topic, request_id)


@app.task
def collector_3(topic: str, request_id: str) -> list[int]:
    """The third source."""
    return _numbers("collector_3", topic, request_id)


def _numbers(name: str, topic: str, request_id: str) -> list[int]:
    found = [random.randint(0, 100) for _ in range(random.randint(1, 10))]
    log.info("[%s] %s found %d items about %r", request_id, name, len(found), topic)
    return found


@app.task
def collector_gathering(results: list[list[Any]], request_id: str) -> list[Any]:
    """Join the collectors' lists into one."""
    joined = [item for result in results for item in result]
    log.info("[%s] gathered %d items", request_id, len(joined))
    cleanup.delay(joined, request_id)
    return joined


@app.task
def cleanup(data: list[Any], request_id: str) -> list[int]:
    """Drop what is not an integer."""
    kept = [item for item in data if isinstance(item, int) and not isinstance(item, bool)]
    log.info("[%s] cleaned up: %d of %d items dropped", request_id, len(data) - len(kept), len(data))
    process.delay(kept, request_id)
    return kept


@app.task
def process(data: list[int], request_id: str) -> dict[str, Any]:
    """Count what is left."""
    count = sum(1 for _ in data)
    log.info("[%s] processed %d items", request_id, count)
    print(f"request {request_id}: {count} items")  # noqa: T201 - as main's does
    return {"request_id": request_id, "item_count": count}


write_from(log, os.environ.get("BENCH_JOURNAL"))
