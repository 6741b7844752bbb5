"""Problems as pages, for whoever asked for a page: a browser, anywhere but under the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from celery_collectors.web.guard import SAID_WITH_ALL
from celery_collectors.web.look import Look
from celery_collectors.web.problems import MEDIA, unforeseen

FOR_PROGRAMS = ("/v1/", "/openapi.json", "/healthz", "/readyz", "/metrics")
OF_THE_BODY = ("content-type", "content-length")


class ProblemPages:
    """Makes a page of a problem on its way to a browser; everything else passes as it is.

    Args:
        app: What answers.
        look: How pages look.
    """

    def __init__(self, app: ASGIApp, *, look: Look) -> None:
        self._app = app
        self._look = look

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, and put a page in place of a problem."""
        if scope["type"] != "http" or not is_for_a_page(scope):
            return await self._app(scope, receive, send)
        began: Message | None = None
        body = bytearray()

        async def sending(message: Message) -> None:
            nonlocal began
            if (
                message["type"] == "http.response.start"
                and Headers(raw=message["headers"]).get("content-type") == MEDIA
            ):
                began = message
            elif began is None:
                await send(message)
            else:
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    page = problem_page(self._look, msgspec.json.decode(body), Headers(raw=began["headers"]))
                    await page(scope, receive, send)

        return await self._app(scope, receive, sending)


def unforeseen_too(look: Look) -> Callable[[Request, Exception], Awaitable[Response]]:
    """The same for what nobody foresaw, which is answered outside all that stands before the endpoints."""

    async def answered(request: Request, error: Exception) -> Response:
        problem = await unforeseen(request, error)
        problem.headers.update(SAID_WITH_ALL)  # the guard stands inside of this
        if not is_for_a_page(request.scope):
            return problem
        return problem_page(look, msgspec.json.decode(problem.body), problem.headers)

    return answered


def is_for_a_page(scope: Scope) -> bool:
    """Whether somebody waits for a page: a browser that goes there, not a program or a part of a page."""
    return "text/html" in Headers(scope=scope).get("accept", "") and not scope["path"].startswith(FOR_PROGRAMS)


def problem_page(look: Look, problem: dict[str, Any], headers: Headers) -> Response:
    """A problem as a page, with the same status and headers."""
    status = problem["status"]
    title = HTTPStatus(status).phrase
    page = look.page("problem.html", status, title=title, notice=problem["detail"], here="")
    kept = MutableHeaders(raw=page.raw_headers)
    for name, value in headers.items():
        if name not in OF_THE_BODY and name != "content-security-policy":
            kept[name] = value
    return page
