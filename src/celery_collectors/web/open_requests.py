"""How many requests that were asked for, or tried again, here have not ended."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from celery_collectors.collectors import Collectors
from celery_collectors.errors import RequestUnknown
from celery_collectors.handle import Request
from celery_collectors.model import RequestState

P = ParamSpec("P")
T = TypeVar("T")

LOOK_AGAIN_S = 1.0
MAY_BE_RETRIED = frozenset({RequestState.PARTIAL, RequestState.FAILED})


class TooMany(Exception):
    """So many requests are open that no more are taken."""

    def __init__(self, most: int) -> None:
        super().__init__(f"as many requests as there is room for here ({most}) have not ended; try again in a moment")


class OpenRequests:
    """Counts what this process has opened; what has ended is looked for only when that matters.

    Args:
        collectors: The facade, which knows what has ended.
        most: How many may be open at once.
    """

    def __init__(self, collectors: Collectors, most: int) -> None:
        self._collectors = collectors
        self._most = most
        self._open: dict[str, object] = {}  # by id, what tells one opening from the next: a request may be tried again
        self._being_opened = 0
        self._look_at = 0.0
        self._lock = threading.Lock()  # never held while the ledger is asked

    def ask(self, ask: Callable[P, Request], *args: P.args, **kwargs: P.kwargs) -> Request:
        """Ask for one more, which has its place before it is asked for.

        Raises:
            TooMany: when there is no room for it.
        """
        with self._place() as opened:
            request = ask(*args, **kwargs)
            opened.add(request.id)
            return request

    def again(self, request: Request, retry: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Try one again that has ended; that takes a place, too.

        Raises:
            TooMany: when there is no room for it.
        """
        if request.state not in MAY_BE_RETRIED:
            return retry(*args, **kwargs)  # which says why it can't be, and would not in a moment
        with self._place() as opened:
            retried = retry(*args, **kwargs)
            opened.add(request.id)
            return retried

    @contextmanager
    def _place(self) -> Iterator[set[str]]:
        """A place, kept for what the block opens."""
        if not self._has_place():
            self._look()
            if not self._has_place():
                raise TooMany(self._most)
        opened = set[str]()
        try:
            yield opened
        finally:
            with self._lock:
                self._being_opened -= 1
                self._open |= {one: object() for one in opened}

    def _has_place(self) -> bool:
        """Take a place, if there is one."""
        with self._lock:
            has_place = len(self._open) + self._being_opened < self._most
            self._being_opened += has_place
            return has_place

    def _look(self) -> None:
        """Forget what has ended. One looks at a time, and seldom: each look is a call for every open request."""
        with self._lock:
            if time.monotonic() < self._look_at:
                return
            self._look_at = math.inf
            counted = dict(self._open)
        ended = set[str]()
        try:
            ended.update(one for one in counted if not self._is_open(one))
        finally:
            with self._lock:
                for one in ended:
                    if self._open.get(one) is counted[one]:  # not if it was opened again while we looked
                        self._open.pop(one, None)
                self._look_at = time.monotonic() + LOOK_AGAIN_S

    def _is_open(self, request_id: str) -> bool:
        try:
            return not self._collectors.get(request_id).is_final
        except RequestUnknown:
            return False
