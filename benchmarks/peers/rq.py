"""rq on Redis: the gathering depends on the collectors, each stage enqueues the next; nothing is forked for a job."""

from __future__ import annotations

import os
import uuid

from redis import Redis
from rq import Queue, get_current_job
from rq.worker import SimpleWorker
from rq.worker_pool import WorkerPool

from benchmarks.flows import work

QUEUE, REDIS_URL = os.environ["BENCH_QUEUE"], os.environ["CELERY_RESULT_BACKEND"]

queue = Queue(QUEUE, connection=Redis.from_url(REDIS_URL))


def collector(name: str, topic: str, request_id: str) -> list[int]:
    """A source."""
    return work.collected(name, topic, request_id)


def gathering(request_id: str) -> None:
    """Join what they found."""
    job = get_current_job()
    assert job is not None
    results = [dependency.return_value() for dependency in job.fetch_dependencies()]
    queue.enqueue(cleanup, request_id, work.gathered(results, request_id))


def cleanup(request_id: str, items: list[int]) -> None:
    """Drop what is not an integer."""
    queue.enqueue(process, request_id, work.cleaned(items, request_id))


def process(request_id: str, items: list[int]) -> None:
    """Count what is left."""
    work.processed(items, request_id)


def collector_request(topic: str) -> str:
    """Ask for a topic."""
    request_id = str(uuid.uuid4())
    jobs = queue.enqueue_many([Queue.prepare_data(collector, (name, topic, request_id)) for name in work.SOURCES])
    queue.enqueue(gathering, request_id, depends_on=jobs)
    return request_id


if __name__ == "__main__":
    WorkerPool([QUEUE], Redis.from_url(REDIS_URL), num_workers=2, worker_class=SimpleWorker).start(
        burst=False, logging_level="WARNING"
    )
