"""Three Celery tasks of very many integers in a ``chord``, and the stages behind it, as the original passed them on."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, chain, chord, group

from benchmarks.journal import WrongWork

ITEMS = int(os.environ["BENCH_ITEMS"])

app = Celery("bench_payload_raw", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.broker_connection_retry_on_startup = True
app.conf.task_default_queue = os.environ["BENCH_QUEUE"]


@app.task
def source() -> list[int]:
    """Numbers, as many as the environment says."""
    return list(range(ITEMS))


@app.task
def gathering(results: list[list[int]]) -> list[int]:
    """Join what was found."""
    return [item for result in results for item in result]


@app.task
def cleanup(items: list[Any]) -> list[int]:
    """Drop what is not an integer."""
    return [item for item in items if isinstance(item, int)]


@app.task
def process(items: list[int]) -> list[int]:
    """Count and add up."""
    return [len(items), sum(items)]


def ask(times: int) -> dict[str, Any]:
    """Ask so often, one chord after another; each answer is checked."""
    for _ in range(times):
        stages = chain(gathering.s(), cleanup.s(), process.s())
        found = chord(group(source.s() for _ in range(3)))(stages).get()
        if found != [3 * ITEMS, 3 * sum(range(ITEMS))]:
            raise WrongWork(f"3 x {ITEMS} integers gave {found}")
    return {}
