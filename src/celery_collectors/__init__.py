"""Ask many flaky sources about a topic over Celery: one clean result, on time, and an honest report."""

from celery_collectors.collectors import Collectors
from celery_collectors.context import current
from celery_collectors.errors import CollectorsError, PermanentError
from celery_collectors.events import Event
from celery_collectors.handle import Request
from celery_collectors.model import Outcome, Report

__all__ = [
    "Collectors",
    "CollectorsError",
    "Event",
    "Outcome",
    "PermanentError",
    "Report",
    "Request",
    "current",
]
