"""What has happened to the requests that are looked at, of which each look reads only what is new."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from threading import Lock

from celery_collectors.events import Event
from celery_collectors.handle import Request
from celery_collectors.model import Report

MOST = 50_000
OF_ONE = 10_000
"""As many as the ledger itself keeps."""


class Heard:
    """The events of the requests that were looked at last.

    Whoever watches a request that runs looks at it several times a second, and it may have thousands of events.

    Args:
        most: How many events are kept, of all requests; who was not looked at for longest goes first.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, datetime | None], list[Event]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def of(self, request: Request, report: Report) -> Sequence[Event]:
        """All that has happened to a request, in all its generations.

        Args:
            request: Its handle.
            report: Its report: an id may be given anew to another request, once its first one has expired.
        """
        key = request.id, report.created_at
        with self._lock:
            events = list(self._kept.get(key, ()))
        events += request.recorded(events[-1].id if events else "0")
        with self._lock:
            self._kept[key] = events[-OF_ONE:]
            self._kept.move_to_end(key)
            while len(self) > self._most:
                self._kept.popitem(last=False)
        return events
