"""``GET /v1/collectors``: what the app declares, and how that did of late."""

from __future__ import annotations

import inspect
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from celery_collectors.registry import Collector
from celery_collectors.web import bodies
from celery_collectors.web.described import refusals
from celery_collectors.web.face import Face, as_json


class Declared:
    """The endpoint about collectors.

    Args:
        face: The facade and its limits.
    """

    def __init__(self, face: Face) -> None:
        self._face = face

    def routes(self) -> APIRouter:
        """Its route."""
        router = APIRouter(tags=["collectors"])
        router.add_api_route("/collectors", self.declared, response_model=bodies.Declared, responses=refusals(503))
        return router

    async def declared(self) -> Response:
        """Every declared collector, and how it did in the newest 100 requests."""
        found = await self._face.call(self.rows)
        return Response(as_json({"version": 1, "collectors": found}), media_type="application/json")

    def rows(self) -> list[dict[str, Any]]:
        """What is said of each."""
        tallies = self._face.collectors.tallies()
        declared = self._face.collectors.registry.collectors.values()
        return [self._row(one) | {"lately": tallies[one.name].to_dict()} for one in declared]

    def _row(self, one: Collector) -> dict[str, Any]:
        settings = self._face.collectors.settings
        said = (inspect.getdoc(one.function) or "").strip()
        return {
            "name": one.name,
            "topics": list(one.topics),
            "timeout_s": settings.timeout_s if one.timeout_s is None else float(one.timeout_s),
            "retries": settings.retries if one.retries is None else one.retries,
            "kind": "async" if one.is_async else "sync",
            "description": said.splitlines()[0] if said else None,
        }
