"""An app that says, when the program ends, what Python's garbage collector looks at."""

import atexit
import gc
import sys

from celery import Celery

from celery_collectors import Collectors

tasks = Celery("looks_at_the_end")
collectors = Collectors(tasks)


@collectors.collector
def letters(topic):
    return list(topic)


@atexit.register
def say():
    print("collects" if gc.isenabled() else "does not collect", file=sys.stderr)
    print("leaves what was imported" if gc.get_freeze_count() > 10_000 else "looks at everything", file=sys.stderr)
