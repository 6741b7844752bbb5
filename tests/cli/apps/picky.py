"""An app with settings that our messages can't live with."""

from celery import Celery

from celery_collectors import Collectors

app = Celery("picky")
app.conf.update(accept_content=["yaml"], worker_deduplicate_successful_tasks=True)
collectors = Collectors(app)


@collectors.collector
def anything(topic):
    return [topic]
