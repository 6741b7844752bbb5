"""An app whose collectors take as long as their topic says: for what is seen of a request while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterable

from celery import Celery

from celery_collectors import Collectors, Report

# Where the broker and the results are, the start script says by environment; these are Celery's own settings.
app = Celery("slow")
app.conf.update(task_send_sent_event=True, worker_send_task_events=True, worker_pool_restarts=True)
collectors = Collectors(app, messages="each")


@collectors.collector(timeout=300)
def sleeps(topic: str) -> list[str]:
    """Take ``topic`` seconds."""
    time.sleep(float(topic))
    return [topic]


@collectors.collector(timeout=300)
def answers(topic: str) -> list[str]:
    """Take no time at all."""
    return [topic]


@collectors.process
def counts(items: Iterable[str], report: Report) -> int:
    """Declared so that Flower has a stage to show."""
    return sum(1 for _ in items)
