"""main's own app and tasks, with the number of messages that the environment says."""

from __future__ import annotations

import logging
import os

from benchmarks.journal import write_from
from main import tasks_collectors
from main.celery_app import app, collectors

__all__ = ["app", "collector_request"]

collector_request = tasks_collectors.collector_request

app.conf.task_default_queue = os.environ["BENCH_QUEUE"]
collectors.configure(messages=os.environ["BENCH_MESSAGES"], queue=os.environ["BENCH_QUEUE"] + ".v1")
tasks_collectors.DEADLINE_S = 600.0  # a thousand at once may wait for longer than main gives a source

write_from(logging.getLogger(tasks_collectors.__name__), os.environ.get("BENCH_JOURNAL"))
