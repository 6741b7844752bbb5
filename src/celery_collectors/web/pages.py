"""The web page: the list of requests, one request, the collectors. It works without JavaScript; with it, it is live."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlencode
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, RedirectResponse, Response

from celery_collectors.errors import CollectorsError, RequestError, RequestUnknown
from celery_collectors.events import Event
from celery_collectors.handle import Request
from celery_collectors.ledger.finding import Page
from celery_collectors.model import RUN_ENDED
from celery_collectors.web.declared import Declared
from celery_collectors.web.face import Face
from celery_collectors.web.filters import Filters
from celery_collectors.web.grid import COLUMNS, spread
from celery_collectors.web.look import environment
from celery_collectors.web.open_requests import TooMany
from celery_collectors.web.results import JSON, NDJSON, Results
from celery_collectors.web.timeline import draw

SHOWN_ITEMS = 5
POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
        "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'",
    )
)  # fmt: skip
DOWNLOADS = {"json": JSON, "ndjson": NDJSON}


class Pages:
    """The pages and what their buttons do.

    Args:
        face: The facade and its limits.
    """

    def __init__(self, face: Face) -> None:
        self._face = face
        self._templates = environment()

    def routes(self) -> APIRouter:
        """Their routes, which are no part of the API."""
        router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
        add = router.add_api_route
        add("/", self.requests)
        add("/list", self.listed)
        add("/collectors", self.collectors)
        add("/requests/{request_id}", self.one)
        add("/requests/{request_id}/part", self.part)
        add("/requests/{request_id}/download", self.download)
        add("/ask", self.ask, methods=["POST"])
        add("/many", self.many, methods=["POST"])
        add("/requests/{request_id}/{action}", self.act, methods=["POST"])
        return router

    # The list -------------------------------------------------------------------------------------

    async def requests(self, http: HttpRequest) -> Response:
        """The list of requests, with a form to ask."""
        return await self._requests(Filters.read(http.query_params))

    async def _requests(self, filters: Filters, notice: str = "", status: int = 200) -> Response:
        found = await self._found(filters)
        return self._page("requests.html", status, **found, notice=notice, here="requests")

    async def listed(self, http: HttpRequest) -> Response:
        """The same list alone, to be put in place of the one that is shown."""
        return self._page("list.html", **await self._found(Filters.read(http.query_params)))

    async def _found(self, filters: Filters) -> dict[str, Any]:
        page: Page = await self._face.call(self._face.collectors.list, 50, filters.cursor or None, **filters.wanted())
        onwards = urlencode({**filters.said(), "cursor": page.cursor}) if page.cursor else ""
        query = urlencode(filters.said())
        grid = {"grid": spread(page.requests), "columns": COLUMNS}
        return {"page": page, "filters": filters, "onwards": onwards, "query": query, **grid}

    async def ask(self, http: HttpRequest) -> Response:
        """Ask for the topic of the form, and show its page."""
        form = await _form(http)
        try:
            await self._face.call(self._face.opened.check)
            deadline = float(form["deadline_s"]) if form.get("deadline_s") else None
            request = await self._face.call(self._face.collectors.request, form.get("topic", ""), deadline=deadline)
        except (RequestError, TooMany, ValueError) as error:
            return await self._requests(Filters(), str(error), 422)
        self._face.opened.add(request.id)
        return _to(f"/requests/{request.id}")

    async def many(self, http: HttpRequest) -> Response:
        """Cancel or retry all that are ticked; those for which that can't be done are named."""
        body = parse_qs((await http.body()).decode(errors="replace"))
        action, refused = "".join(body.get("action", [])), []
        for request_id in body.get("request_id", [])[:200]:
            try:
                await self._do(await self._face.get(UUID(request_id)), action, {}, http)
            except (CollectorsError, ValueError) as error:
                refused.append(str(error))
        return await self._requests(Filters(), "; ".join(refused), 409) if refused else _to("/")

    # One request ----------------------------------------------------------------------------------

    async def one(self, request_id: UUID) -> Response:
        """One request's page."""
        try:
            request = await self._face.get(request_id)
            return await self._one(request)
        except RequestUnknown as error:
            return self._page("problem.html", 404, notice=str(error), here="")

    async def _one(self, request: Request, notice: str = "", status: int = 200) -> Response:
        return self._page("one.html", status, **await self._face.call(_seen, request), notice=notice, here="")

    async def part(self, request_id: UUID) -> Response:
        """What changes of it, to be put in place of what is shown."""
        request = await self._face.get(request_id)
        return self._page("part.html", **await self._face.call(_seen, request))

    async def act(self, http: HttpRequest, request_id: UUID, action: str) -> Response:
        """Cancel it, try it again, or give it another level."""
        request = await self._face.get(request_id)
        try:
            await self._do(request, action, await _form(http), http)
        except RequestError as error:
            return await self._one(request, str(error), 409)
        return _to(f"/requests/{request.id}")

    async def _do(self, request: Request, action: str, form: Mapping[str, str], http: HttpRequest) -> None:
        if action == "cancel":
            by = getattr(http.state, "caller", None)
            await self._face.call(request.cancel, form.get("reason") or None, by=by)
        elif action == "retry":
            only: Any = [form["run"]] if form.get("run") else "failed"
            await self._face.call(request.retry, only, force="force" in form)
        elif action == "priority":
            await self._face.call(request.reprioritise, form.get("level", ""))
        else:
            raise RequestError(f"there is no {action!r}; there are cancel, retry and priority")

    async def download(self, http: HttpRequest, request_id: UUID) -> Response:
        """The result, or the items, as a file."""
        ending = "ndjson" if http.query_params.get("as") == "ndjson" else "json"
        headers = {"Content-Disposition": f'attachment; filename="{request_id}.{ending}"'}
        request = await self._face.get(request_id)
        return await Results(self._face).stream(request, DOWNLOADS[ending], headers)

    # Collectors -----------------------------------------------------------------------------------

    async def collectors(self) -> Response:
        """How each collector did of late."""
        rows = await self._face.call(Declared(self._face).rows)
        return self._page("collectors.html", rows=rows, here="collectors")

    def _page(self, template: str, status: int = 200, **values: Any) -> Response:
        text = self._templates.get_template(template).render(**values)
        return HTMLResponse(text, status, {"Content-Security-Policy": POLICY})


def _seen(request: Request) -> dict[str, Any]:
    """All that the page of one request shows."""
    events, after = list[Event](), "0"
    while found := request.happened(after):
        events += found
        after = found[-1].id
    report = request.report()
    now_ms = time.time() * 1000
    began_s = report.created_at.timestamp() if report.created_at else now_ms / 1000
    ended_s = report.finished_at.timestamp() if report.finished_at else now_ms / 1000
    outcomes = report.outcomes.values()
    return {
        "report": report,
        "timeline": draw(report, events, now_ms),
        "again_s": {e.name: max(0.0, e.at_ms / 1000 + e.delay_s - now_ms / 1000) for e in events if e.delay_s},
        "ended": sum(one.state in RUN_ENDED for one in outcomes),
        "missing": sum(one.state in ("failed", "timed_out", "lost", "cancelled") for one in outcomes),
        "items": sum(one.items for one in outcomes),
        "bytes": sum(one.bytes for one in outcomes),
        "elapsed_s": max(0.0, ended_s - began_s),
        "deadline_s": report.deadline_at.timestamp() - began_s if report.deadline_at else None,
        "first_items": list(islice(request.items(), SHOWN_ITEMS)) if report.is_final else [],
    }


async def _form(http: HttpRequest) -> dict[str, str]:
    return {name: values[0].strip() for name, values in parse_qs((await http.body()).decode(errors="replace")).items()}


def _to(path: str) -> Response:
    return RedirectResponse(path, 303)
