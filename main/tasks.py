"""All tasks of the application, where Celery's autodiscovery looks for them."""

from __future__ import annotations

from main.tasks_async import clean_data, create_project
from main.tasks_collectors import (
    cleanup,
    collector_1,
    collector_2,
    collector_3,
    collector_gathering,
    collector_request,
    process,
)

__all__ = [
    "clean_data",
    "cleanup",
    "collector_1",
    "collector_2",
    "collector_3",
    "collector_gathering",
    "collector_request",
    "create_project",
    "process",
]
