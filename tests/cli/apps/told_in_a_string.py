"""An app that is told to stop while code of a string runs, as it does wherever a dataclass is made."""

from celery import Celery

from celery_collectors import Collectors

tasks = Celery("told_in_a_string")
collectors = Collectors(tasks)
exec("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nfor _ in range(1000): pass")
