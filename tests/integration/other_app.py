"""Another project that happens to use the same broker and ledger."""

from __future__ import annotations

from celery_collectors import Collectors
from tests.integration.apps import make_app

app = make_app("other_app")
collectors = Collectors(app)


@collectors.collector
def elsewhere(topic: str) -> list[str]:
    """Answers every topic, too."""
    return [topic]
