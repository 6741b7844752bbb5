"""Requests that were asked: listed, looked at, waited for, cancelled, tried again, let go first."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from celery_collectors.web import bodies
from celery_collectors.web.asking import Prefer, answered
from celery_collectors.web.described import Unsaid, refusals
from celery_collectors.web.face import Face, as_json

Limit = Annotated[int, Query(ge=1, le=200)]
_Position = Annotated[str, Field(pattern=r"^[0-9]{1,15}:[0-9a-f-]{36}$")]
_Glob = Annotated[str, Field(max_length=bodies.TOPIC_MAX_CHARS)]
_States = Annotated[list[bodies.RequestState], Field(max_length=8)]
Cursor = Annotated[_Position | Unsaid, Query(description="From the page before.")]
Topic = Annotated[_Glob | Unsaid, Query(description="A glob for the topic.")]
States = Annotated[_States | Unsaid, Query()]
Moment = Annotated[bodies.Moment | Unsaid, Query(description="RFC 3339.")]


class Requests:
    """The endpoints about requests that are there.

    Args:
        face: The facade and its limits.
    """

    def __init__(self, face: Face) -> None:
        self._face = face

    def routes(self) -> APIRouter:
        """Their routes."""
        router = APIRouter(tags=["requests"])
        add = router.add_api_route
        one = "/requests/{request_id}"
        add("/requests", self.list, response_model=bodies.Listed, responses=refusals(422, 503))
        add(one, self.show, response_model=bodies.Report, responses=refusals(404, 422, 503))
        stands_against = (400, 404, 409, 413, 422, 503)
        changes: dict[str, Any] = {"methods": ["POST"], "responses": refusals(*stands_against)}
        begins: dict[str, Any] = {"methods": ["POST"], "responses": refusals(*stands_against, 429)}
        add(f"{one}/cancel", self.cancel, response_model=bodies.State, **changes)
        add(f"{one}/retry", self.retry, response_model=bodies.Retried, status_code=202, **begins)
        add(f"{one}/priority", self.priority, response_model=bodies.State, **changes)
        return router

    async def list(
        self,
        *,
        limit: Limit = 20,
        cursor: Cursor = None,
        topic: Topic = None,
        state: States = None,
        since: Moment = None,
        until: Moment = None,
    ) -> Response:
        """List requests, the newest first. A page may be short although the list goes on: the cursor says so."""
        page = await self._face.call(
            self._face.collectors.list,
            limit,
            cursor,
            topic=topic,
            state=state or (),
            since=since,
            until=until,
        )
        lines = [one.to_dict() for one in page.requests]
        return _json({"version": 1, "requests": lines, "cursor": page.cursor})

    async def show(self, request_id: UUID, prefer: Prefer = None) -> Response:
        """One request's report, as it is now."""
        return await answered(self._face, await self._face.get(request_id), prefer)

    async def cancel(self, http: HttpRequest, request_id: UUID, why: bodies.Cancel | None = None) -> Response:
        """End a request: once this is answered, nothing of it starts any more."""
        request = await self._face.get(request_id)
        by = getattr(http.state, "caller", None)
        state = await self._face.call(request.cancel, why.reason if why else None, by=by)
        return _json({"request_id": request.id, "state": str(state)})

    async def retry(self, request_id: UUID, what: bodies.Retry | None = None) -> Response:
        """Try a partial or failed request again: what answered is kept."""
        what = what or bodies.Retry()
        request = await self._face.get(request_id)
        retried = await self._face.call(
            self._face.opened.again,
            request,
            request.retry,
            "failed" if what.only is None else what.only,
            deadline=what.deadline_s,
            finish=what.finish_s,
            force=what.force,
        )
        began = {"generation": retried.generation, "runs": retried.runs, "left": retried.left}
        headers = {"Location": f"/v1/requests/{request.id}"}
        return Response(as_json({"request_id": request.id, **began}), 202, headers, "application/json")

    async def priority(self, request_id: UUID, wanted: bodies.Priority) -> Response:
        """Let what waits of a request go before others, or after them."""
        request = await self._face.get(request_id)
        state = await self._face.call(request.reprioritise, wanted.level)
        return _json({"request_id": request.id, "state": str(state)})


def _json(value: Any) -> Response:
    return Response(as_json(value), media_type="application/json")
