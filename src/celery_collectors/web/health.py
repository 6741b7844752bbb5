"""``/healthz``, ``/readyz``, ``/metrics``: for whoever starts and watches the process."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from celery_collectors.errors import UnavailableError
from celery_collectors.web import bodies
from celery_collectors.web.described import refusals
from celery_collectors.web.face import Face, as_json


class Health:
    """The endpoints that say how the process is.

    Args:
        face: The facade and its limits.
    """

    def __init__(self, face: Face) -> None:
        self._face = face
        self.registry = CollectorRegistry()
        self._up = Gauge("collectors_ledger_up", "Whether the ledger answers.", registry=self.registry)
        self._workers = Gauge("collectors_workers", "Workers that reported themselves lately.", registry=self.registry)

    def routes(self, key: Any) -> APIRouter:
        """Their routes; ``key`` is what needs one depends on."""
        router = APIRouter(tags=["health"])
        router.add_api_route("/healthz", self.live, response_model=None, responses=_text("It lives."))
        router.add_api_route("/readyz", self.ready, response_model=bodies.Ready, responses=refusals(503))
        router.add_api_route(
            "/metrics", self.metrics, response_model=None, responses=_text("For Prometheus."), dependencies=[key]
        )
        return router

    async def live(self) -> Response:
        """Whether the process answers at all; asks nobody else."""
        return Response("ok\n", media_type="text/plain")

    async def ready(self) -> Response:
        """Whether requests can be taken: the ledger answers."""
        workers = await self._face.call(self._face.collectors.workers)
        return Response(as_json({"ready": True, "workers": len(workers)}), media_type="application/json")

    async def metrics(self) -> Response:
        """Counts of calls, and whether ledger and workers are there, as Prometheus reads them."""
        try:
            self._workers.set(len(await self._face.call(self._face.collectors.workers)))
            self._up.set(1)
        except UnavailableError:
            self._workers.set(0)
            self._up.set(0)
        return Response(generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class Counted:
    """Counts calls, by route and not by path, of which there is no end.

    Args:
        app: What is called.
        registry: Where the counts are.
    """

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        labels = ["method", "route", "status"]
        self._calls = Counter("collectors_http_calls", "Calls answered.", labels, registry=registry)
        self._open = Gauge("collectors_http_open", "Calls and event streams that are open.", registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count one."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status = 0

        async def counting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        with self._open.track_inprogress():
            try:
                await self._app(scope, receive, counting)
            finally:
                method = scope["method"] if scope["method"] in ("GET", "POST") else "-"
                self._calls.labels(method, _route(scope), status or 500).inc()


def _route(scope: Scope) -> str:
    """The route, with its parameters' names in place of what was sent, of which there is no end."""
    if "endpoint" not in scope:
        return "-"
    if isinstance(scope["endpoint"], StaticFiles):
        return "/static"
    names = {str(value): f"{{{name}}}" for name, value in scope.get("path_params", {}).items()}
    return "/".join(names.get(part, part) for part in str(scope["path"]).split("/"))


def _text(description: str) -> dict[int | str, dict[str, object]]:
    shared = {status: refusal for status, refusal in refusals().items() if status != 200}
    return {200: {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}, **shared}
