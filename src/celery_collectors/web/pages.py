"""The pages beside that of one request: the list of requests, the collectors. They work without JavaScript, too."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, Response

from celery_collectors.errors import RequestError, RequestUnknown
from celery_collectors.ledger.finding import Page
from celery_collectors.web.actions import act_on, caller_of, fields_of, form_of, seconds_of, to, uuid_of
from celery_collectors.web.declared import Declared
from celery_collectors.web.face import Face
from celery_collectors.web.filters import Filters
from celery_collectors.web.grid import COLUMNS, spread
from celery_collectors.web.list_stream import SHOWN
from celery_collectors.web.look import Look
from celery_collectors.web.open_requests import TooMany
from celery_collectors.web.problems import later

TICKED_MAX = 200


class Pages:
    """The pages and what their buttons do.

    Args:
        face: The facade and its limits.
        look: How pages look.
    """

    def __init__(self, face: Face, look: Look) -> None:
        self._face = face
        self._look = look

    def routes(self) -> APIRouter:
        """Their routes, which are no part of the API."""
        router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
        add = router.add_api_route
        add("/", self.requests)
        add("/list", self.listed)
        add("/collectors", self.collectors)
        add("/ask", self.ask, methods=["POST"])
        add("/many", self.many, methods=["POST"])
        return router

    async def requests(self, http: HttpRequest) -> Response:
        """The list of requests, with a form to ask."""
        filters = Filters.read(http.query_params)
        return await self._requests(filters, filters.notice)

    async def _requests(self, filters: Filters, notice: str = "", status: int = 200) -> Response:
        found = await self._found(filters)
        return self._look.page("requests.html", status, **found, notice=notice, here="requests")

    async def listed(self, http: HttpRequest) -> Response:
        """The same list alone, to be put in place of the one that is shown."""
        return self._look.page("list.html", **await self._found(Filters.read(http.query_params)))

    async def _found(self, filters: Filters) -> dict[str, Any]:
        page: Page = await self._face.call(
            self._face.collectors.list, SHOWN, filters.cursor or None, **filters.wanted()
        )
        onwards = urlencode({**filters.said(), "cursor": page.cursor}) if page.cursor else ""
        query = urlencode(filters.said())
        grid = {"grid": spread(page.requests), "columns": COLUMNS}
        return {"page": page, "filters": filters, "onwards": onwards, "query": query, **grid}

    async def ask(self, http: HttpRequest) -> Response:
        """Ask for the topic of the form, and show its page."""
        form = await fields_of(http)
        try:
            deadline = seconds_of(form.get("deadline_s"))
            ask, topic = self._face.collectors.request, form.get("topic", "")
            request = await self._face.call(self._face.opened.ask, ask, topic, deadline=deadline)
        except TooMany as error:
            return later(await self._requests(Filters(), str(error), 429))
        except RequestError as error:
            return await self._requests(Filters(), str(error), 422)
        return to(f"/requests/{request.id}")

    async def many(self, http: HttpRequest) -> Response:
        """Cancel or retry all that are ticked; those for which that can't be done are named."""
        body, filters = await form_of(http), Filters.read(http.query_params)
        action, ticked = "".join(body.get("action", [])), body.get("request_id", [])
        refused = [] if ticked else ["nothing is ticked"]
        for at, request_id in enumerate(ticked[:TICKED_MAX]):
            try:
                request = await self._face.get(uuid_of(request_id))
                await act_on(self._face, request, action, {}, caller_of(http))
            except TooMany as error:
                refused.append(f"{error}: {len(ticked) - at} of {len(ticked)} were left, from {request_id} on")
                return later(await self._requests(filters, "; ".join(refused), 429))
            except (RequestError, RequestUnknown) as error:
                refused.append(str(error))
        if refused:
            return await self._requests(filters, "; ".join(refused), 409)
        return to(f"/?{urlencode(filters.said())}" if filters.said() else "/")

    async def collectors(self) -> Response:
        """How each collector did of late."""
        rows = await self._face.call(Declared(self._face).rows)
        return self._look.page("collectors.html", rows=rows, here="collectors")
