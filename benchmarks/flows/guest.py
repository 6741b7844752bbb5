"""A Celery app as a user has one, with ``Collectors`` and its default settings; the flows declare on it.

Only the queues have names of their own, and where the servers are is said.
"""

from __future__ import annotations

import os

from celery import Celery

from celery_collectors import Collectors

DEADLINE_S = 600.0  # a thousand at once on a busy machine may wait for longer than one would give a source


def guest() -> tuple[Celery, Collectors]:
    """The app, and what is declared on it."""
    app = Celery("bench", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
    app.conf.broker_connection_retry_on_startup = True
    app.conf.task_default_queue = os.environ["BENCH_QUEUE"]
    return app, Collectors(app, queue=os.environ["BENCH_QUEUE"] + ".v1", deadline_s=DEADLINE_S)
