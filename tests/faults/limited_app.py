"""The engine's app at a site whose quorum queue drops what was delivered too often; a policy would do the same."""

from __future__ import annotations

import sys
from pathlib import Path

from kombu import Queue

from celery_collectors import dispatch
from celery_collectors.dispatch import dispatcher
from celery_collectors.worker import boot
from tests.integration.engine_app import app, collectors

__all__ = ["app", "collectors"]

LIMIT = 2


def limited_queue(name: str, kind: str = "quorum") -> Queue:
    """Our queue, with a delivery limit."""
    queue = dispatch.our_queue(name, kind)
    queue.queue_arguments = {**queue.queue_arguments, "x-delivery-limit": LIMIT}
    return queue


def limit() -> None:
    """Declare it so wherever this process does."""
    boot.our_queue = dispatcher.our_queue = limited_queue  # type: ignore[attr-defined]


if Path(sys.argv[0]).parent.name == "celery":  # in a worker
    limit()
