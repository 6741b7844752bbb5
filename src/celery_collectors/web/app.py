"""The app: its endpoints, and what stands before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.staticfiles import StaticFiles

from celery_collectors.collectors import Collectors
from celery_collectors.web import bodies
from celery_collectors.web.asking import Asking, InProgress, in_progress
from celery_collectors.web.declared import Declared
from celery_collectors.web.face import Face, Limits
from celery_collectors.web.flower import Flower
from celery_collectors.web.guard import Guard
from celery_collectors.web.heads import Heads
from celery_collectors.web.health import Counted, Health
from celery_collectors.web.keys import Keys
from celery_collectors.web.list_stream import ListStream
from celery_collectors.web.look import HERE, Look
from celery_collectors.web.pages import Pages
from celery_collectors.web.problem_pages import ProblemPages, unforeseen_too
from celery_collectors.web.problems import handle_problems
from celery_collectors.web.request_page import RequestPage
from celery_collectors.web.requests import Requests
from celery_collectors.web.results import Results
from celery_collectors.web.streams import Streams
from celery_collectors.web.workers import WorkersPage

KEY = Depends(HTTPBearer(auto_error=False, description="A key; needed where the server has any."))
"""Says in the document what the guard does."""


def create_app(
    collectors: Collectors,
    *,
    keys: Keys | None = None,
    hosts: Iterable[str] = (),
    limits: Limits | None = None,
    flower: str | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """Make the ASGI app of one project's collectors.

    Args:
        collectors: The facade.
        keys: Who may come in; ``None`` lets in everyone who reaches it, so it must be on the loopback only.
        hosts: Names by which it is called, beside those of the loopback.
        limits: How much it takes on.
        flower: Where a browser finds Flower; without it nothing is linked there.
        stopping: Says whether the server is about to stop, and event streams should end.

    Raises:
        SettingsError: when Flower's address is none.

    >>> from celery import Celery
    >>> app = create_app(Collectors(Celery("news")))
    >>> app.title
    'celery-collectors'
    """
    limits = limits or Limits()
    face = Face(collectors, limits, stopping)
    health = Health(face)
    app = FastAPI(
        title="celery-collectors",
        version=version("celery-collectors"),
        summary="Ask many flaky sources about a topic: one clean result, on time, and an honest report of who failed.",
        docs_url=None,  # their pages fetch scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.include_router(_v1(face))
    app.include_router(health.routes(KEY))
    look = Look()
    app.include_router(Pages(face, look).routes())
    app.include_router(WorkersPage(face, look).routes())
    app.include_router(ListStream(face).routes())
    app.include_router(RequestPage(face, look, Flower.at(flower) if flower else None).routes())
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.add_middleware(Heads)
    app.add_middleware(Guard, keys=keys, hosts=hosts, body_bytes=limits.body_bytes)
    app.add_middleware(ProblemPages, look=look)
    app.add_middleware(Counted, registry=health.registry)  # outside of the guard: whom that refuses is counted, too
    handle_problems(app)
    app.add_exception_handler(Exception, unforeseen_too(look))
    app.add_exception_handler(InProgress, in_progress)
    _describe(app)
    return app


def _v1(face: Face) -> APIRouter:
    v1 = APIRouter(prefix="/v1", dependencies=[KEY])
    for part in (Asking(face), Requests(face), Results(face), Streams(face), Declared(face)):
        v1.include_router(part.routes())
    return v1


def _operation_id(route: APIRoute) -> str:
    return "_".join([*map(str, route.tags), route.name])


def _describe(app: FastAPI) -> None:
    """Let the document say of errors what is true: FastAPI would describe its own, which nobody gets here."""
    original = app.openapi

    def described() -> dict[str, Any]:
        document = original()
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for model in (bodies.Problem, bodies.Wrong):
            found = model.model_json_schema(ref_template="#/components/schemas/{model}")
            found.pop("$defs", None)
            schemas[model.__name__] = found
        return document

    app.openapi = described  # type: ignore[method-assign]
