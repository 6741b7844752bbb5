"""A Celery ``chord`` of very many tasks that do nothing, as many as the environment says."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, chord, group

from benchmarks.journal import WrongWork

RUNS = int(os.environ["BENCH_RUNS"])

app = Celery("bench_wide_raw", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.broker_connection_retry_on_startup = True
app.conf.task_default_queue = os.environ["BENCH_QUEUE"]


@app.task
def source(topic: str) -> list[int]:
    """A source that answers at once."""
    return [len(topic)]


@app.task
def process(results: list[list[int]]) -> int:
    """Add up what they found."""
    return sum(item for result in results for item in result)


def ask(times: int) -> dict[str, Any]:
    """Ask all of them so often, one chord after another; each answer is checked."""
    topic = "wide"
    for _ in range(times):
        asked = chord(group(source.s(topic) for _ in range(RUNS)))(process.s())
        # A result that knows its members looks at each of them whenever another has ended: minutes, with 10,000.
        found = app.AsyncResult(asked.id).get()
        if found != len(topic) * RUNS:
            raise WrongWork(f"a chord of {RUNS} tasks gave {found}")
    return {}
