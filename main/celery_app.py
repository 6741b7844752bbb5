"""The application's Celery app: RabbitMQ as broker, Redis for results and for the ledger.

``CELERY_BROKER_URL`` and ``CELERY_RESULT_BACKEND`` say where they are; without them, where these two put them::

    docker run --name rabbitmq -d -p 5672:5672 rabbitmq
    docker run --name redis -d -p 6379:6379 redis
"""

from __future__ import annotations

import os

from celery import Celery

from celery_collectors import Collectors

app = Celery(
    "main",
    broker=os.environ.get("CELERY_BROKER_URL", "amqp://guest:guest@localhost:5672//"),
    backend=os.environ.get("CELERY_RESULT_BACKEND", "redis://localhost:6379/0"),
)
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_send_sent_event=True,  # for Flower: when a task was sent,
    worker_send_task_events=True,  # what became of it,
    worker_pool_restarts=True,  # and its button "Restart pool"
)
app.autodiscover_tasks(["main"])

# One message per collector and stage, so that Flower shows each of them.
collectors = Collectors(app, messages="each")
