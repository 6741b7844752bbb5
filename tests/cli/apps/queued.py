"""An app whose own tasks have a queue that the test names."""

import os

from celery import Celery

from celery_collectors import Collectors

app = Celery("queued")
app.conf.task_default_queue = os.environ.get("APP_QUEUE", "mail")
collectors = Collectors(app)


@collectors.collector
def answers(topic):
    return [topic]
