"""An app whose code says how it is set."""

from celery import Celery

from celery_collectors import Collectors

app = Celery("set_in_code")
collectors = Collectors(app, shards=2)
