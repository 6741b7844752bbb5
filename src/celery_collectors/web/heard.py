"""What has happened to the requests that are looked at, of which each look reads only what is new."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from threading import Lock

from celery_collectors.events import Event
from celery_collectors.handle import Request
from celery_collectors.model import Report

KEPT = 20


class Heard:
    """The events of the requests that were looked at last.

    Whoever watches a request that runs looks at it several times a second, and it may have thousands of events.

    Args:
        most: Of how many requests they are kept.
    """

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, datetime | None], list[Event]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, request: Request, report: Report) -> Sequence[Event]:
        """All that has happened to a request, in all its generations.

        Args:
            request: Its handle.
            report: Its report: an id may be given anew to another request, once its first one has expired.
        """
        key = request.id, report.created_at
        with self._lock:
            events = list(self._kept.get(key, ()))
        while found := request.happened(events[-1].id if events else "0"):
            events += found
        with self._lock:
            self._kept[key] = max(events, self._kept.get(key, []), key=len)
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return events
