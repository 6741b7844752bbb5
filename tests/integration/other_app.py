"""Another project that happens to use the same broker and ledger."""

from __future__ import annotations

from celery import Celery

from celery_collectors import Collectors

app = Celery("other_app")
collectors = Collectors(app)


@collectors.collector
def elsewhere(topic: str) -> list[str]:
    """Answers every topic, too."""
    return [topic]
