"""Words of the OpenAPI document that several endpoints share."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import SkipJsonSchema

from celery_collectors.web.bodies import Problem

Unsaid = SkipJsonSchema[None]
"""A parameter that is not there: null can't be said in a URL or a header."""

MEANING = {
    400: "What was sent can't be read.",
    401: "No key, or a wrong one.",
    403: "A page of another site sent this.",
    404: "The ledger does not hold this request.",
    406: "There is no such form of it.",
    409: "As things are, this can't be done.",
    410: "What was stored is gone.",
    413: "The body is too large.",
    421: "This server is not called by that name.",
    422: "What was sent is not understood.",
    429: "Too many requests are open.",
    503: "The ledger does not answer.",
}
LATER = {"headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How an endpoint may refuse, beside the ways that all share."""
    return {status: _refusal(status) for status in sorted({401, 403, 421, *statuses})}


def _refusal(status: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return {"description": MEANING[status], "content": content, **(LATER if status in (429, 503) else {})}
