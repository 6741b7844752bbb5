"""An app without stages: what was collected is the answer."""

from celery import Celery

from celery_collectors import Collectors

tasks = Celery("plain")
collectors = Collectors(tasks)


@collectors.collector
def letters(topic):
    return list(topic)
