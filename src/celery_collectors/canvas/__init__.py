"""``chord``: the shape of Celery's own, with this package's promises."""

from celery_collectors.canvas.result import ChordResult
from celery_collectors.canvas.sending import chord
from celery_collectors.dispatch.results import ChordFailed

__all__ = ["ChordFailed", "ChordResult", "chord"]
