"""``/list/events``: that the list of requests has changed, as server-sent events.

Nothing tells of a new request but the list itself, so that is looked at: once a second for all who watch the same
list, and all lists together for a tenth of the time at most, however many there are and whatever their filters cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import anyio
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse

from celery_collectors.errors import UnavailableError
from celery_collectors.web.face import Face
from celery_collectors.web.filters import Filters
from celery_collectors.web.streams import AGAIN_MS, frame

LOOK_S = 1.0
SHARE = 10
SHOWN = 50
"""Requests on a page of the list."""


class Look:
    """What one list was like when it was looked at last."""

    def __init__(self) -> None:
        self.readers = 0
        self.lock = anyio.Lock()
        self.due_at = 0.0
        self.mark: str | None = None


class ListStream:
    """The endpoint that tells that the list has changed.

    Args:
        face: The facade and its limits.
    """

    def __init__(self, face: Face) -> None:
        self._face = face
        self._looks: dict[Filters, Look] = {}

    def routes(self) -> APIRouter:
        """Its route, which is no part of the API."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/list/events", self.events)
        return router

    async def events(self, http: HttpRequest) -> Response:
        """Say `changed` at once, unless the reader has heard that already, and whenever the list is another one."""
        told = self._told(Filters.read(http.query_params), http.headers.get("last-event-id"))
        return StreamingResponse(told, media_type="text/event-stream")

    async def _told(self, filters: Filters, heard: str | None) -> AsyncIterator[str]:
        yield f"retry: {AGAIN_MS}\n\n"
        silent_since = anyio.current_time()
        ends_at = silent_since + self._face.limits.stream_s
        with self._watched(filters) as look:
            while not self._face.stopping() and anyio.current_time() < ends_at:
                mark = await self._mark(filters, look)
                now = anyio.current_time()
                if mark is not None and mark != heard:
                    heard, silent_since = mark, now
                    yield frame("changed", {}, mark)
                elif now - silent_since >= self._face.limits.heartbeat_s:
                    silent_since = now
                    yield ": heartbeat\n\n"
                await anyio.sleep(min(LOOK_S, self._face.limits.heartbeat_s))

    @contextmanager
    def _watched(self, filters: Filters) -> Iterator[Look]:
        """What all readers of a list share, for as long as there is one."""
        look = self._looks.setdefault(filters, Look())
        look.readers += 1
        try:
            yield look
        finally:
            look.readers -= 1
            if not look.readers:
                self._looks.pop(filters, None)

    async def _mark(self, filters: Filters, look: Look) -> str | None:
        """What the list is like: looked at if that is due, by whoever comes first; the others wait for it."""
        async with look.lock:
            began_at = anyio.current_time()
            if began_at >= look.due_at:
                with suppress(UnavailableError):  # the ledger comes back, or the reader goes
                    look.mark = await self._face.call(self._marked, filters)
                now = anyio.current_time()
                look.due_at = now + max(LOOK_S * 0.9, SHARE * len(self._looks) * (now - began_at))
            return look.mark

    def _marked(self, filters: Filters) -> str:
        page = self._face.collectors.list(SHOWN, **filters.wanted())
        lines = [(one.request_id, one.state, one.open, one.missing, one.finished_at) for one in page.requests]
        return hashlib.blake2b(repr(lines).encode(), digest_size=8).hexdigest()
