"""Ask many flaky sources about a topic over Celery: one clean result, on time, and an honest report.

The names below are imported on first use, so that the embedded engine and the CLI's help need not wait
for Celery.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would be most of what this file takes, and a Ctrl-C meanwhile a traceback
if TYPE_CHECKING:
    from typing import Any

    from celery_collectors.canvas import ChordFailed, ChordResult, chord
    from celery_collectors.collectors import Collectors
    from celery_collectors.context import Context, current
    from celery_collectors.errors import CollectorsError, PermanentError
    from celery_collectors.events import Event
    from celery_collectors.handle import Request
    from celery_collectors.model import ErrorInfo, Outcome, Report

__all__ = [
    "ChordFailed",
    "ChordResult",
    "Collectors",
    "CollectorsError",
    "Context",
    "ErrorInfo",
    "Event",
    "Outcome",
    "PermanentError",
    "Report",
    "Request",
    "chord",
    "current",
]

_HOMES = {
    "ChordFailed": "canvas",
    "ChordResult": "canvas",
    "Collectors": "collectors",
    "CollectorsError": "errors",
    "Context": "context",
    "ErrorInfo": "model",
    "Event": "events",
    "Outcome": "model",
    "PermanentError": "errors",
    "Report": "model",
    "Request": "handle",
    "chord": "canvas",
    "current": "context",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
