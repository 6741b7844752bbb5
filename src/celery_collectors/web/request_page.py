"""The page of one request: where each collector is, and buttons to steer it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, Response

from celery_collectors.errors import PayloadError, PayloadsUnavailable, RequestError
from celery_collectors.handle import Request
from celery_collectors.model import RUN_ENDED, Report
from celery_collectors.web.actions import ACTIONS, act_on, caller_of, fields_of, to
from celery_collectors.web.face import Face
from celery_collectors.web.flower import Flower, links
from celery_collectors.web.generations import past
from celery_collectors.web.heard import Heard
from celery_collectors.web.look import Look
from celery_collectors.web.open_requests import TooMany
from celery_collectors.web.problems import later
from celery_collectors.web.results import JSON, NDJSON, Results
from celery_collectors.web.rows import look_at
from celery_collectors.web.timeline import draw
from celery_collectors.web.trend import Seen, Trend, trends

SHOWN_ITEMS = 5
SHOWN_TRENDS = 200
SHOWN_EARLIER = 10
NEWEST = 100
Generation = Annotated[int | None, Query(ge=1)]
Ref = Annotated[str, Path(pattern=r"^([0-9]{1,6}|gathering|cleanup|process)$")]
DOWNLOADS = {"json": JSON, "ndjson": NDJSON}


class RequestPage:
    """The page of one request, its parts, and what its buttons do.

    Args:
        face: The facade and its limits.
        look: How pages look.
        flower: Where Flower is, if there is one.
    """

    def __init__(self, face: Face, look: Look, flower: Flower | None) -> None:
        self._face = face
        self._look = look
        self._flower = flower
        self._heard = Heard()

    def routes(self) -> APIRouter:
        """Their routes, which are no part of the API."""
        router = APIRouter(prefix="/requests/{request_id}", include_in_schema=False)
        add = router.add_api_route
        add("", self.one, response_class=HTMLResponse)
        add("/part", self.part, response_class=HTMLResponse)
        add("/over-time", self.over_time, response_class=HTMLResponse)
        add("/rows/{ref}", self.row, response_class=HTMLResponse)
        add("/download", self.download)
        add("/{action}", self.act, methods=["POST"])
        return router

    async def one(self, request_id: UUID, generation: Generation = None) -> Response:
        """The page; of an earlier generation, what is kept of that."""
        request = await self._face.get(request_id)
        if generation is None:
            return await self._one(request)
        if found := await self._face.call(_seen_then, request, generation, self._heard):
            return await self._page("past.html", **found)
        if generation == (await self._face.call(request.report)).generation:
            return await self._one(request)
        return await self._one(request, f"nothing is kept of generation {generation}; this is the present one", 404)

    async def _one(self, request: Request, notice: str = "", status: int = 200) -> Response:
        return await self._page("one.html", status, **await self._seen(request), notice=notice)

    async def part(self, request_id: UUID) -> Response:
        """What changes of it, to be put in place of what is shown."""
        return await self._page("part.html", **await self._seen(await self._face.get(request_id)))

    async def _page(self, template: str, status: int = 200, **values: Any) -> Response:
        """Drawn where nobody else waits for it: there may be thousands of runs, and items of any size."""
        return await self._face.call(self._look.page, template, status, here="", **values)

    async def _seen(self, request: Request) -> dict[str, Any]:
        return await self._face.call(_seen, request, self._heard, self._flower)

    async def row(self, http: HttpRequest, request_id: UUID, ref: Ref) -> Response:
        """All that is known of one run or stage: a page of its own, or what is opened in the table."""
        request = await self._face.get(request_id)
        found = await self._face.call(look_at, request, ref, self._flower)
        template = "row.html" if http.headers.get("hx-request") else "row_page.html"
        return await self._page(template, **found)

    async def over_time(self, http: HttpRequest, request_id: UUID) -> Response:
        """How long each of its collectors has taken lately, and this time: a page of its own, or what is opened."""
        request = await self._face.get(request_id)
        report = await self._face.call(request.report)
        found = await self._face.call(self._trends, report)
        template = "trends.html" if http.headers.get("hx-request") else "trends_page.html"
        return await self._page(template, report=report, trends=found, newest=NEWEST)

    def _trends(self, report: Report) -> list[Trend]:
        lately = {one.request_id: (one.created_at, outcomes) for one, outcomes in self._face.collectors.lately(NEWEST)}
        lately[report.request_id] = report.created_at, report.outcomes  # which may be older than those
        seen = [Seen(request_id=one, at=at, outcomes=found) for one, (at, found) in lately.items() if at is not None]
        return trends(list(report.outcomes)[:SHOWN_TRENDS], seen, report.request_id)

    async def act(self, http: HttpRequest, request_id: UUID, action: str) -> Response:
        """Cancel it, try it again, or give it another level."""
        if action not in ACTIONS:
            raise HTTPException(404, f"there is no {action!r}; there are {', '.join(ACTIONS)}")
        request = await self._face.get(request_id)
        try:
            await act_on(self._face, request, action, await fields_of(http), caller_of(http))
        except RequestError as error:
            return await self._one(request, str(error), 409)
        except TooMany as error:
            return later(await self._one(request, str(error), 429))
        return to(f"/requests/{request.id}")

    async def download(self, http: HttpRequest, request_id: UUID) -> Response:
        """The result, or the items, as a file."""
        ending = "ndjson" if http.query_params.get("as") == "ndjson" else "json"
        headers = {"Content-Disposition": f'attachment; filename="{request_id}.{ending}"'}
        request = await self._face.get(request_id)
        return await Results(self._face).stream(request, DOWNLOADS[ending], headers)


def _seen_then(request: Request, generation: int, heard: Heard) -> dict[str, Any] | None:
    """All that the page of an earlier generation shows, if anything is kept of it."""
    report = request.report()
    events = heard.of(request, report)
    found = past(report, events, generation)
    if found is None:
        return None
    return {
        "report": found.report,
        "is_whole": found.is_whole,
        "timeline": draw(found.report, events, request.now_ms()),
        "earlier": _earlier(generation),
    }


def _earlier(generation: int) -> range:
    """The generations before one, the latest of them."""
    return range(max(1, generation - SHOWN_EARLIER), generation)


def _seen(request: Request, heard: Heard, flower: Flower | None) -> dict[str, Any]:
    """All that the page of one request shows."""
    report, question = request.report(), request.asked()
    events = heard.of(request, report)
    now_ms = request.now_ms()
    timeline = draw(report, events, now_ms)
    began_s = timeline.began_ms / 1000
    ended_s = report.finished_at.timestamp() if report.finished_at else now_ms / 1000
    outcomes = report.outcomes.values()
    first_items, trouble = _first_items(request) if report.is_final else ([], "")
    return {
        "report": report,
        "timeline": timeline,
        "earlier": _earlier(report.generation),
        "again_s": {e.name: max(0.0, e.at_ms / 1000 + e.delay_s - now_ms / 1000) for e in events if e.delay_s},
        "ended": sum(one.state in RUN_ENDED for one in outcomes),
        "missing": sum(one.state in ("failed", "timed_out", "lost", "cancelled") for one in outcomes),
        "items": sum(one.items for one in outcomes),
        "most_items": max((one.items for one in outcomes), default=0),
        "bytes": sum(one.bytes for one in outcomes),
        "elapsed_s": max(0.0, ended_s - began_s),
        "deadline_s": report.deadline_at.timestamp() - began_s if report.deadline_at else None,
        "links": links(flower, request.id, question) if flower else None,
        "attempts": {row.ref: row.retries + 1 for row in question.rows},
        "first_items": first_items,
        "trouble": trouble,
    }


def _first_items(request: Request) -> tuple[list[Any], str]:
    """The first items of its answer, or why there are none to be seen, which is no reason to show nothing of it."""
    try:
        items = request.first_items(most=SHOWN_ITEMS)
    except (PayloadError, PayloadsUnavailable) as error:
        return [], f"The items can't be read: {error}"
    return ([], "The items are too large to be shown here; the downloads have them.") if items is None else (items, "")
