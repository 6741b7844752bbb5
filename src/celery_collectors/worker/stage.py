"""Executing one stage: gathering, cleanup or process, lazily from what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celery_collectors.calls import decode_call
from celery_collectors.ledger import Grant
from celery_collectors.ledger.reading import Reader
from celery_collectors.model import Report
from celery_collectors.payloads import is_inline
from celery_collectors.payloads.codec import Chunk
from celery_collectors.registry import Stage, asks_for
from celery_collectors.worker.attempt import Attempt, Ended, stage_ended
from celery_collectors.worker.bounded import Bounded, Within
from celery_collectors.worker.data import instead
from celery_collectors.worker.fetch import bounded_attempt, enter_context, fetch, settle, settle_together
from celery_collectors.worker.in_one_go import NOTHING_GIVEN, Data, InOneGo, run_stage
from celery_collectors.worker.process import Process
from celery_collectors.worker.run import Arguments


def execute_stage(
    process: Process, order: Mapping[str, Any] | Grant, within: Within, given: Arguments = NOTHING_GIVEN
) -> Ended:
    """Execute a stage that a message announced, or that was granted in place.

    Args:
        process: This process.
        order: Which stage, from the message; or its grant.
        within: Entered in the thread that runs the stage's code.
        given: The arguments that a chord gives its callback beside the data.

    Returns:
        How it ended, and the stage to go on with; both empty if there was nothing to do.
    """
    grant = order if isinstance(order, Grant) else fetch(process, order)
    if grant is None:
        return Ended()
    if grant.ref not in process.registry.stages:  # this worker's code is older than the request: leave it to another
        settle(process, grant, Attempt(state="queued"))
        return Ended()
    if grant.then and grant.given and all(is_inline(raw) for raw in grant.given if raw is not None):
        return _execute_several(process, grant, within, given)
    stage = process.registry.stages[grant.ref]
    attempt = stage_ended(bounded_attempt(process, grant, _in_thread(process, stage, grant, within, given)))
    return Ended(attempt=attempt, next=settle(process, grant, attempt, go_on=True).next)


def _execute_several(process: Process, grant: Grant, within: Within, given: Arguments) -> Ended:
    """Execute a short stage and the short ones that follow it, and commit them in one call to the ledger.

    They are given all they need: what must be read from the store may be large, and goes stage by stage.
    """
    data = _given(process, process.reader, grant)
    several = InOneGo(process, grant, Data(data, given), within)
    last = bounded_attempt(process, grant, Bounded(several.produce, f"{grant.name} {grant.request_id}", kill=False))
    try:
        ended = several.conclude(last)
    except Exception:
        process.keeper.drop(grant.held)
        raise  # as when the ledger is away: the lease lapses, and the stage is fetched again
    return Ended(attempt=ended[-1][1], next=settle_together(process, ended, go_on=True).next)


def asked_of(process: Process, grant: Grant) -> Arguments:
    """The arguments that a chord gives a callback that goes on in place, as its message would have brought them."""
    if not grant.asked:
        return NOTHING_GIVEN
    (signature,) = decode_call(process.runtime.app, grant.asked)
    return signature.args, signature.kwargs


def _in_thread(process: Process, stage: Stage, grant: Grant, within: Within, given: Arguments) -> Bounded[Chunk]:
    def produce() -> Iterator[Chunk]:
        # A connection of its own: this thread may be left behind in the middle of a reply.
        with within(), process.reading() as reader:
            enter_context(grant)
            by_name: dict[str, Any] = {"topic": grant.topic, "request_id": grant.request_id}
            if (grant.call and not grant.given) or asks_for(stage.function, "report"):
                by_name["report"] = reader.report(grant.request_id)
            yield from run_stage(stage, _input(process, reader, grant, by_name.get("report")), by_name, given)

    # Not killed when left behind: its code may be reading from the ledger.
    return Bounded(produce, f"{grant.name} {grant.request_id}", kill=False)


def _input(process: Process, reader: Reader, grant: Grant, report: Report | None) -> Iterator[Any]:
    if grant.given:
        return _given(process, reader, grant)
    if report is not None and grant.call:
        return reader.results(report, instead(process, grant))
    if grant.ref == "gathering":
        return reader.results_of_runs(grant.request_id)
    if grant.before:
        return reader.items_of(grant.request_id, [grant.before])
    return reader.items_before(grant.request_id, grant.ref)


def _given(process: Process, reader: Reader, grant: Grant) -> Iterator[Any]:
    """The input that came with the grant."""
    if grant.call:
        return reader.given_results(grant.given, instead(process, grant))
    return reader.given_lists(grant.given) if grant.ref == "gathering" else reader.given_items(grant.given)
