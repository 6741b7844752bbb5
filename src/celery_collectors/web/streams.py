"""``/v1/requests/{id}/events``: what happens, as server-sent events.

No reader has a thread of its own: each looks at the ledger from the event loop, a few times a second, and one that
reads slowly or is gone costs a coroutine until its connection is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import anyio
from fastapi import APIRouter, Header
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from celery_collectors.errors import RequestUnknown, UnavailableError
from celery_collectors.events import Event
from celery_collectors.handle import Request
from celery_collectors.model import REQUEST_ENDED, at, rfc3339
from celery_collectors.web.described import Unsaid, refusals
from celery_collectors.web.face import POLL_S, Face, as_json

AGAIN_MS = 1000
_Id = Annotated[str, Field(pattern=r"^[0-9]{1,15}(-[0-9]{1,15})?$")]
LastId = Annotated[_Id | Unsaid, Header(alias="Last-Event-ID", description="Where to go on.")]
EVENT = {
    "type": "object",
    "description": "One of the stream's events; data is JSON.",
    "properties": {
        "id": {"type": "string"},
        "event": {"enum": ["snapshot", "request", "collector", "end"]},
        "data": {"type": "string"},
    },
}


class Streams:
    """The endpoint that tells what happens.

    Args:
        face: The facade and its limits.
    """

    def __init__(self, face: Face) -> None:
        self._face = face

    def routes(self) -> APIRouter:
        """Its route."""
        router = APIRouter(tags=["requests"])
        router.add_api_route(
            "/requests/{request_id}/events",
            self.events,
            response_class=StreamingResponse,
            responses={
                200: {"content": {"text/event-stream": {"schema": EVENT}}},
                204: {"description": "It has ended, and there is nothing after that event."},
                **refusals(404, 422, 503),
            },
        )
        return router

    async def events(self, request_id: UUID, last_event_id: LastId = None) -> Response:
        """Follow a request to its end: `snapshot`, then `request` and `collector` for each change, then `end`."""
        request = await self._face.get(request_id)
        if last_event_id is not None and await self._face.call(_is_told, request, last_event_id):
            return Response(status_code=204)
        return StreamingResponse(self._told(request, last_event_id), media_type="text/event-stream")

    async def _told(self, request: Request, last_id: str | None) -> AsyncIterator[str]:
        ends_at = anyio.current_time() + self._face.limits.stream_s
        yield f"retry: {AGAIN_MS}\n\n"
        after = last_id
        if after is None:
            after = await self._face.call(request.last_event_id)
            yield frame("snapshot", (await self._face.call(request.report)).to_dict(), after)
        async for piece in self._following(request, after, ends_at):
            yield piece

    async def _following(self, request: Request, after: str, ends_at: float) -> AsyncIterator[str]:
        looks, silent_since = True, anyio.current_time()  # whether it may have ended
        while not self._face.stopping() and anyio.current_time() < ends_at:
            try:
                found = await self._face.call(request.happened, after)
                if not found and looks:
                    report = await self._face.call(request.report)
                    if report.is_final:
                        yield frame("end", report.to_dict(), after)
                        return
            except RequestUnknown:
                return  # it has expired
            except UnavailableError:
                found = []  # the ledger comes back, or the reader goes
            looks = (looks and bool(found)) or any(map(_ends, found))
            for event in found:
                after = event.id
                yield _told_as(event)
            now = anyio.current_time()
            silent_since = now if found else silent_since
            if now - silent_since >= self._face.limits.heartbeat_s:
                silent_since = now
                yield ": heartbeat\n\n"
            if not found:
                await anyio.sleep(POLL_S)


def frame(name: str, data: Any, event_id: str) -> str:
    """One event of a stream."""
    return f"id: {event_id}\nevent: {name}\ndata: {as_json(data).decode()}\n\n"


def _told_as(event: Event) -> str:
    said = {
        "request_id": event.request_id,
        "subject": event.subject,
        "name": event.name,
        "state": event.state,
        "at": rfc3339(at(event.at_ms)),
        "generation": event.generation,
        "attempt": event.attempt,
        "items": event.items,
        "delay_s": event.delay_s,
        "priority": event.priority or None,
        "error": event.error.to_dict() if event.error else None,
    }
    return frame("collector" if event.subject == "run" else "request", said, event.id)


def _ends(event: Event) -> bool:
    return event.subject == "request" and event.state in REQUEST_ENDED


def _is_told(request: Request, last_id: str) -> bool:
    return not request.happened(last_id) and request.is_final
