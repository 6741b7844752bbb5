"""The page of the workers: who is there, and one of them started anew."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, Response

from celery_collectors.ledger import WorkerBeat
from celery_collectors.web.actions import fields_of, to
from celery_collectors.web.face import Face
from celery_collectors.web.look import Look

ASKED = "{} was asked to end. What keeps it running starts it again; if nothing does, start it yourself."
Asked = Annotated[str, Query(max_length=255, pattern=r"^\S*$")]  # a name, and no sentence of somebody else's


class WorkersPage:
    """The page, and its button.

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
        router.add_api_route("/workers", self.workers)
        router.add_api_route("/workers", self.restart, methods=["POST"])
        return router

    async def workers(self, asked: Asked = "") -> Response:
        """Who has reported itself of late, and who was just asked to end."""
        beats = await self._face.call(self._face.collectors.workers)
        rows = [_row(beat) for beat in beats]
        notice = ASKED.format(asked) if asked else ""
        return self._look.page("workers.html", rows=rows, notice=notice, here="workers")

    async def restart(self, http: HttpRequest) -> Response:
        """Ask the worker of the form to end."""
        name = (await fields_of(http)).get("name", "")
        if name not in [beat.worker for beat in await self._face.call(self._face.collectors.workers)]:
            raise HTTPException(404, f"no worker that is there is called {name!r}")
        await self._face.call(self._face.collectors.end_worker, name)
        return to(f"/workers?{urlencode({'asked': name})}")


def _row(beat: WorkerBeat) -> dict[str, Any]:
    idle_s = None if beat.idle_for_ms is None else beat.idle_for_ms / 1000
    return {"beat": beat, "idle_s": idle_s, "heard_s": max(0.0, beat.silent_ms / 1000)}
