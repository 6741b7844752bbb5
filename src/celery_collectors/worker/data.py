"""What the worker puts in the place of a message's placeholders: a chord's data, which never rides in a message."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from celery.app.task import Context

from celery_collectors.calls import decode_call
from celery_collectors.dispatch.results import celery_error
from celery_collectors.ledger import Grant
from celery_collectors.ledger.reading import Reader
from celery_collectors.worker.process import Process

MISSING = "missing"
"""The ref under which a chord keeps the value that stands for each member that failed."""


def data_of(process: Process, reader: Reader, grant: Grant, order: Mapping[str, Any]) -> tuple[Any, ...]:
    """The data of a call's first parameters, as many as its message has placeholders.

    Raises:
        PayloadError: when a stored value is damaged or gone.
    """
    if not order["data"]:
        return ()
    if grant.ref.isdigit():
        return (reader.single(grant.request_id, f"{grant.ref}:{grant.step - 1}"),)
    if grant.given:
        return (list(reader.given_results(grant.given, instead(process, grant))),)
    report = reader.report(grant.request_id)
    if grant.ref == "gathering":
        return (list(reader.results(report, instead(process, grant))),)
    if grant.ref.startswith("link_error"):
        failed = Context(id=grant.request_id, root_id=grant.request_id, task=report.topic, args=[], kwargs={})
        said = (failed, celery_error(report), report.error.traceback if report.error else None)
        return said if order["data"] == len(said) else (grant.request_id,)
    return (reader.answer(report),)


def instead(process: Process, grant: Grant) -> Sequence[Any]:
    """The value that stands for a member that failed, if the chord has one."""
    return [step["args"][0] for step in decode_call(process.runtime.app, grant.missing)] if grant.missing else []


def wants_report(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a callback asks for the report by name, and was not given anything else for it."""
    try:
        signature = inspect.signature(function)
        bound = signature.bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return False
    return "report" in signature.parameters and bound.get("report") is None
