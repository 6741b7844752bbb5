"""Three Celery tasks of very many integers in a ``chord``, and the stages behind it, as the original passed them on.

Results that nobody reads are not stored.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

from celery import Celery, chord, group

from benchmarks.journal import WrongWork

ITEMS = int(os.environ["BENCH_ITEMS"])

app = Celery("bench_payload_raw", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.broker_connection_retry_on_startup = True
app.conf.task_default_queue = os.environ["BENCH_QUEUE"]


@app.task
def source() -> list[int]:
    """Numbers, as many as the environment says."""
    return list(range(ITEMS))


@app.task(ignore_result=True)
def gathering(results: list[list[int]], request_id: str) -> None:
    """Join what was found."""
    cleanup.delay([item for result in results for item in result], request_id)


@app.task(ignore_result=True)
def cleanup(items: list[Any], request_id: str) -> None:
    """Drop what is not an integer."""
    process.apply_async(([item for item in items if isinstance(item, int)],), task_id=request_id)


@app.task
def process(items: list[int]) -> list[int]:
    """Count and add up."""
    return [len(items), sum(items)]


def ask(times: int) -> dict[str, Any]:
    """Ask so often, one chord after another; each answer is checked."""
    for _ in range(times):
        request_id = str(uuid.uuid4())
        chord(group(source.s() for _ in range(3)))(gathering.s(request_id))
        found = app.AsyncResult(request_id).get()
        if found != [3 * ITEMS, 3 * sum(range(ITEMS))]:
            raise WrongWork(f"3 x {ITEMS} integers gave {found}")
    return {}
