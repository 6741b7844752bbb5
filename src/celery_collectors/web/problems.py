"""Every error as ``application/problem+json`` (RFC 9457), FastAPI's and Starlette's own included."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match

from celery_collectors import errors
from celery_collectors.web.face import as_json
from celery_collectors.web.open_requests import TooMany

log = logging.getLogger(__name__)

MEDIA = "application/problem+json"
RETRY_AFTER_S = 5
NO_NONE = "none_required"
"""That a parameter might not be there at all helps nobody who sent it."""
STATUS: Mapping[type[Exception], int] = {  # the first that fits
    errors.RequestUnknown: 404,
    errors.RefusedError: 409,
    errors.NoCollectorError: 409,  # a question like any other, which what the app declares stands against
    errors.PolicyError: 409,
    errors.RequestError: 422,
    errors.PayloadError: 410,
    errors.UnavailableError: 503,
    TooMany: 429,
}


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """One problem.

    Args:
        status: The HTTP status.
        detail: What was wrong, and what to do next.
        headers: Further headers.
        more: Further fields.
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Response(as_json(body), status, dict(headers or {}), MEDIA)


def later(response: Response) -> Response:
    """The same answer, which says when to try again."""
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def handle_problems(app: FastAPI) -> None:
    """Let an app answer all its errors so, but for what nobody foresaw: see :func:`unforeseen`."""
    app.add_exception_handler(errors.CollectorsError, _ours)
    app.add_exception_handler(TooMany, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)


async def _ours(_: Request, error: Exception) -> Response:
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    answer = problem(status, str(error), error=type(error).__name__)
    return later(answer) if status in (429, 503) else answer


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = dict.fromkeys((_at(one["loc"]), _said(one)) for one in error.errors() if one["type"] != NO_NONE)
    found = [{"at": at, "message": message} for at, message in wrong]
    detail = "; ".join(f"{at}: {message}" for at, message in wrong)
    return problem(422, detail, errors=found)


def _at(place: Sequence[str | int]) -> str:
    """Where it is wrong: of a parameter what comes after its name is how we check it."""
    return ".".join(map(str, place if place[0] == "body" else place[:2]))


def _said(wrong: Mapping[str, Any]) -> str:
    return str(wrong["msg"]).removeprefix("Value error, ")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return problem(error.status_code, error.detail, headers)


async def _gone(_: Request, __: Exception) -> Response:
    return problem(400, "the body did not come to its end")


def _methods(request: Request) -> set[str]:
    """The methods that there are at a path, over all its routes: the framework names those of the first."""
    known = ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT")
    found = {
        method
        for method in known
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    return found | {"HEAD"} if "GET" in found else found


async def unforeseen(_: Request, error: Exception) -> Response:
    """The problem that an error of our own is."""
    log.error("an endpoint failed", exc_info=error)
    return problem(500, "something went wrong here that we did not foresee; the server's log has the traceback")
