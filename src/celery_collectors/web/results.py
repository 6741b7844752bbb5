"""``/v1/requests/{id}/result``: what a request came to, however much it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse

from celery_collectors.errors import RefusedError
from celery_collectors.handle import Request
from celery_collectors.web.described import refusals
from celery_collectors.web.face import Face, as_json
from celery_collectors.web.problems import problem

JSON, NDJSON = "application/json", "application/x-ndjson"


class Results:
    """The endpoint that hands over results.

    Args:
        face: The facade and its limits.
    """

    def __init__(self, face: Face) -> None:
        self._face = face

    def routes(self) -> APIRouter:
        """Its route."""
        router = APIRouter(tags=["requests"])
        router.add_api_route(
            "/requests/{request_id}/result",
            self.result,
            response_class=StreamingResponse,
            responses={
                200: {"content": {JSON: {"schema": {}}, NDJSON: {"schema": {"type": "string"}}}},
                **refusals(404, 406, 409, 410, 422, 503),
            },
        )
        return router

    async def result(self, http: HttpRequest, request_id: UUID) -> Response:
        """What the process stage returned (JSON), or the items (NDJSON), those of a failed request, too."""
        media = media_wanted(http.headers.get("accept", "*/*"))
        if media is None:
            return problem(406, f"there are {JSON} and {NDJSON}")
        request = await self._face.get(request_id)
        return await self.stream(request, media)

    async def stream(self, request: Request, media: str, headers: dict[str, str] | None = None) -> Response:
        """The result in pieces; what can't be begun is an error while it still can be told."""
        pieces = await self._face.call(_begun, request, media)
        return StreamingResponse(self._face.in_pieces(pieces), media_type=media, headers=headers)


def media_wanted(accept: str) -> str | None:
    """Which of the two a client would rather have.

    >>> media_wanted("application/x-ndjson, application/json;q=0.5"), media_wanted("image/png")
    ('application/x-ndjson', None)
    """
    weights = {name: _weight(name, accept) for name in (JSON, NDJSON)}
    best = max(weights, key=lambda name: weights[name])
    return best if weights[best] > 0 else None


def _weight(media: str, accept: str) -> float:
    """How much a media type is wanted; the most precise range decides."""
    ranges = (media, f"{media.partition('/')[0]}/*", "*/*")
    found: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (word.strip() for word in part.lower().split(";"))
        found[name] = next((_number(one[2:]) for one in parameters if one.startswith("q=")), 1.0)
    return next((found[one] for one in ranges if one in found), 0.0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _begun(request: Request, media: str) -> Iterator[bytes]:
    report = request.report()
    if not report.is_final:
        raise RefusedError(f"request {request.id} is still {report.state}, and has no result yet")
    pieces: Iterator[bytes]
    if media == NDJSON:
        pieces = (as_json(item) + b"\n" for item in request.items())
    elif "process" in report.stages or report.result is not None:
        pieces = iter((as_json(report.result),))
    else:
        pieces = _array(request.items())
    return chain(list(islice(pieces, 1)), pieces)


def _array(items: Iterable[object]) -> Iterator[bytes]:
    opening = b"["
    for item in items:
        yield opening + as_json(item)
        opening = b","
    yield b"[]" if opening == b"[" else b"]"
