"""What the page's buttons do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response

from celery_collectors.errors import RequestError
from celery_collectors.handle import Request
from celery_collectors.plan import as_uuid
from celery_collectors.web.bodies import REASON_MAX_CHARS
from celery_collectors.web.face import Face

ACTIONS = ("cancel", "retry", "priority")


async def act_on(face: Face, request: Request, action: str, form: Mapping[str, str], by: str | None) -> None:
    """Cancel a request, try it again, or give it another level.

    Raises:
        RequestError: when that can't be done, or there is no such action.
        TooMany: when there is no room for what would be tried again.
    """
    if action == "cancel":
        reason = form.get("reason", "")[:REASON_MAX_CHARS]  # no browser sends more
        await face.call(request.cancel, reason or None, by=by)
    elif action == "retry":
        only: Any = [form["run"]] if form.get("run") else "failed"
        await face.call(face.opened.again, request, request.retry, only, force="force" in form)
    elif action == "priority":
        await face.call(request.reprioritise, form.get("level", ""))
    else:
        raise RequestError(f"there is no {action!r}; there are {', '.join(ACTIONS)}")


async def form_of(http: HttpRequest) -> dict[str, list[str]]:
    """What a form says; what is no text is left out."""
    return parse_qs((await http.body()).decode(errors="replace"))


async def fields_of(http: HttpRequest) -> dict[str, str]:
    """What a form says, whose fields have one value each."""
    return {name: values[0].strip() for name, values in (await form_of(http)).items()}


def seconds_of(text: str | None) -> float | None:
    """A duration as a form has it; ``None`` where nothing was written.

    Raises:
        RequestError: when it is none.
    """
    try:
        return float(text) if text else None
    except ValueError as error:
        raise RequestError(f"the deadline is a number of seconds, as in 30 or 2.5, not {text!r}") from error


def uuid_of(text: str) -> UUID:
    """A request's id as a form has it.

    Raises:
        RequestError: when it is none.
    """
    return UUID(as_uuid(text))


def caller_of(http: HttpRequest) -> str | None:
    """Whose key it was, if it took one."""
    found: str | None = getattr(http.state, "caller", None)
    return found


def to(path: str) -> Response:
    """Go there, and ask for it plainly."""
    return RedirectResponse(path, 303)
