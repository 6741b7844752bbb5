"""``POST /v1/requests``: ask, once for each idempotency key."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header
from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from celery_collectors.errors import RequestUnknown
from celery_collectors.handle import Request
from celery_collectors.web import bodies
from celery_collectors.web.described import Unsaid, refusals
from celery_collectors.web.face import Face, as_json
from celery_collectors.web.problems import problem

Prefer = Annotated[str | Unsaid, Header(description="`wait=n`: answer when it is final, or after n seconds.")]
_Token = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[!-~]+$")]
Key = Annotated[
    _Token | Unsaid,
    Header(alias="Idempotency-Key", description="The same key and body give the same request; another is refused."),
]
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})")


class Asking:
    """The endpoint that asks.

    Args:
        face: The facade and its limits.
    """

    def __init__(self, face: Face) -> None:
        self._face = face
        self._under_way: set[str] = set()

    def routes(self) -> APIRouter:
        """Its route."""
        router = APIRouter(tags=["requests"])
        router.add_api_route(
            "/requests",
            self.ask,
            methods=["POST"],
            status_code=202,
            response_model=bodies.Report,
            summary="Ask for a topic",
            responses={
                200: {"model": bodies.Report, "description": "Final, within the time that Prefer gave."},
                202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "The request."}}},
                **refusals(400, 409, 413, 422, 429, 503),
            },
        )
        return router

    async def ask(
        self, http: HttpRequest, question: bodies.Question, key: Key = None, prefer: Prefer = None
    ) -> Response:
        """Open a request. With an Idempotency-Key, asking again after a lost answer opens no second one."""
        caller = str(getattr(http.state, "caller", ""))
        request = await self._once(question, caller, key)
        return await answered(self._face, request, prefer, asked=True)

    async def _once(self, question: bodies.Question, caller: str, key: str | None) -> Request:
        if key is None:
            return await self._face.call(_open, self._face, question)
        key = f"http:{caller}:{key}"
        if key in self._under_way:
            raise InProgress
        with self._marked(key):
            return await self._face.call(_open, self._face, question, key)

    @contextmanager
    def _marked(self, key: str) -> Iterator[None]:
        self._under_way.add(key)
        try:
            yield
        finally:
            self._under_way.discard(key)


class InProgress(Exception):
    """A question with this key is being asked at this moment."""

    def __init__(self) -> None:
        super().__init__("a question with this Idempotency-Key is being asked right now; ask again in a moment")


def _open(face: Face, question: bodies.Question, key: str | None = None) -> Request:
    asked = question.model_dump()
    # The id is made of key and body, and the key belongs to one id: so another body with this key is found out.
    body = msgspec.json.encode(asked, order="sorted").decode()
    request_id = None if key is None else str(uuid.uuid5(uuid.NAMESPACE_URL, f"{key}\n{body}"))
    if request_id is not None:
        with suppress(RequestUnknown):
            return face.collectors.get(request_id)  # asked before: it needs no place
    times = {"deadline": asked.pop("deadline_s"), "finish": asked.pop("finish_s")}
    return face.opened.ask(face.collectors.request, **asked, **times, key=key, request_id=request_id)


async def answered(face: Face, request: Request, prefer: str | None, *, asked: bool = False) -> Response:
    """A request's report: at once, or at its end if that comes in the time that ``Prefer: wait=n`` gives."""
    wanted = _WAIT.search(prefer or "")
    is_final = False
    headers = {"Location": f"/v1/requests/{request.id}"} if asked else {}
    if wanted:
        wait_s = min(float(wanted[1]), face.limits.wait_s)
        is_final = await face.until_final(request, wait_s)
        headers["Preference-Applied"] = f"wait={wait_s:.0f}"
    report = await face.call(request.report)
    status = 202 if asked and not is_final else 200
    return Response(as_json(report.to_dict()), status, headers, "application/json")


async def in_progress(_: HttpRequest, error: Exception) -> Response:
    """The problem that :class:`InProgress` is."""
    return problem(409, str(error), {"Retry-After": "1"})
