"""How many requests that were asked for here have not ended."""

from __future__ import annotations

import threading

from celery_collectors.collectors import Collectors
from celery_collectors.errors import RequestUnknown


class TooMany(Exception):
    """So many requests are open that no more are taken."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} requests that were asked for here have not ended; ask again in a moment")


class OpenRequests:
    """Counts what this process has opened; what has ended is looked for only when that matters.

    Args:
        collectors: The facade, which knows what has ended.
        most: How many may be open at once.
    """

    def __init__(self, collectors: Collectors, most: int) -> None:
        self._collectors = collectors
        self._most = most
        self._ids: set[str] = set()
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise :class:`TooMany` if there is no room for one more."""
        with self._lock:
            if len(self._ids) >= self._most:
                self._ids = {one for one in self._ids if self._is_open(one)}
            if len(self._ids) >= self._most:
                raise TooMany(self._most)

    def add(self, request_id: str) -> None:
        """Count a request."""
        with self._lock:
            self._ids.add(request_id)

    def _is_open(self, request_id: str) -> bool:
        try:
            return not self._collectors.get(request_id).report().is_final
        except RequestUnknown:
            return False
