"""Celery's own ``chord``, with a Celery user's settings: the callback sends ``cleanup``, which sends ``process``.

What nobody reads is not stored: of the stages, no results.
"""

from __future__ import annotations

import os
import uuid

from celery import Celery, chord, group

from benchmarks.flows import work

app = Celery("bench_plain", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.broker_connection_retry_on_startup = True
app.conf.task_default_queue = os.environ["BENCH_QUEUE"]


@app.task
def collector(name: str, topic: str, request_id: str) -> list[int]:
    """A source."""
    return work.collected(name, topic, request_id)


@app.task(ignore_result=True)
def gathering(results: list[list[int]], request_id: str) -> None:
    """Join what they found."""
    cleanup.delay(work.gathered(results, request_id), request_id)


@app.task(ignore_result=True)
def cleanup(items: list[int], request_id: str) -> None:
    """Drop what is not an integer."""
    process.delay(work.cleaned(items, request_id), request_id)


@app.task(ignore_result=True)
def process(items: list[int], request_id: str) -> None:
    """Count what is left."""
    work.processed(items, request_id)


@app.task(ignore_result=True)
def collector_request(topic: str) -> str:
    """Ask for a topic."""
    request_id = str(uuid.uuid4())
    chord(group(collector.s(name, topic, request_id) for name in work.SOURCES))(gathering.s(request_id))
    return request_id
