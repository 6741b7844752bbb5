"""The two ledger calls around every attempt: fetching a run or stage, and settling it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from msgspec.structs import replace

from celery_collectors import context
from celery_collectors.dispatch.results import Answer
from celery_collectors.errors import LedgerUnavailable, UnavailableError
from celery_collectors.events import Event
from celery_collectors.ledger import Grant, Reply, Settled, Verdict
from celery_collectors.model import at
from celery_collectors.payloads import Cap, PayloadWriter
from celery_collectors.payloads.codec import Chunk
from celery_collectors.worker.attempt import Attempt, answered, failed
from celery_collectors.worker.bounded import Bounded
from celery_collectors.worker.keeper import GOES_ALONE
from celery_collectors.worker.process import Process, new_token

log = logging.getLogger(__name__)


def fetch(process: Process, order: Mapping[str, Any]) -> Grant | None:
    """Ask the ledger for what a message announced; ``None`` if there is nothing to do."""
    who = {"owner": process.owner, "worker": process.worker, "token": new_token()}
    grant = process.keeper.fetch(lambda alone: process.ledger.start(order, **who, alone=alone))
    if not grant.go:
        log.info("%s %s is not run: %s", order["request_id"], order["ref"], grant.reason)
        if grant.reason == GOES_ALONE:
            process.put_off.append(order)
        return None
    process.tell(_event(grant, "running"))
    return grant


def fetch_together(process: Process, orders: Sequence[Mapping[str, Any]]) -> list[Grant]:
    """Ask the ledger for several runs of one request; return the grants of those that there is something to do for."""
    token = new_token()
    grants = process.ledger.start_together(orders, owner=process.owner, worker=process.worker, token=token)
    going = [grant for grant in grants if grant.go]
    if len(going) < len(grants):
        refused = Counter(grant.reason for grant in grants if not grant.go)
        log.info(
            "%s: %d of %d runs are not run: %s", orders[0]["request_id"], refused.total(), len(grants), dict(refused)
        )
    for grant in going if process.runtime.hooks else ():
        process.tell(_event(grant, "running"))
    return going


def settle_together(process: Process, ended: Sequence[tuple[Grant, Attempt]], *, go_on: bool = False) -> Reply:
    """Tell the ledger how several attempts of one request ended, and send what follows.

    Args:
        process: This process.
        ended: The attempts and their grants: of runs, or of stages in their order.
        go_on: Whether this thread could go on with a short stage in place.
    """
    try:
        reply = process.ledger.settle_together(
            [_settled(grant, attempt) for grant, attempt in ended], go_on=process.who() if go_on else None
        )
    finally:
        process.keeper.drop(*(grant.held for grant, _ in ended))
    for (grant, attempt), each in zip(ended, reply.each, strict=True):
        _leave_behind(process, grant, attempt, each)
    process.publish(reply.orders, _answer(process, *ended[-1]) if reply.complete else None)
    _pass_on_turn(process, [grant for grant, _ in ended])
    if process.runtime.hooks or log.isEnabledFor(logging.INFO):
        for (grant, attempt), each in zip(ended, reply.each, strict=True):
            _report_end(process, grant, attempt, each)
    return reply


def _settled(grant: Grant, attempt: Attempt) -> Settled:
    return Settled(
        held=grant.held,
        state=attempt.state,
        value=attempt.call.encode() if attempt.error else _stored(grant, attempt),
        items=attempt.value.items,
        size_bytes=attempt.value.size,
        run_s=attempt.run_s,
        error=attempt.error,
        again_s=attempt.again_s,
    )


def settle(process: Process, grant: Grant, attempt: Attempt, *, go_on: bool = False) -> Reply:
    """Tell the ledger how an attempt ended, and send what follows from it.

    Args:
        process: This process.
        grant: The attempt's grant.
        attempt: How it ended.
        go_on: Whether this thread could go on with a short stage in place.
    """
    try:
        reply = process.ledger.settle(
            grant.held,
            attempt.state,
            value=attempt.call.encode() if attempt.error else _stored(grant, attempt),
            items=attempt.value.items,
            size_bytes=attempt.value.size,
            run_s=attempt.run_s,
            error=attempt.error,
            again_s=attempt.again_s,
            go_on=process.who() if go_on else None,
        )
    finally:
        process.keeper.drop(grant.held)
    _leave_behind(process, grant, attempt, reply)
    process.publish(reply.orders, _answer(process, grant, attempt) if reply.complete else None)
    _pass_on_turn(process, [grant])
    _report_end(process, grant, attempt, reply)
    return reply


def _pass_on_turn(process: Process, ended: Sequence[Grant]) -> None:
    """What was put off because of one that went alone is called for now, instead of when its pause is over."""
    if not any(grant.alone for grant in ended):
        return
    with suppress(IndexError, UnavailableError):  # nothing waits here, or it comes a little later
        while not (orders := process.ledger.died(process.put_off.popleft(), None).orders):
            continue
        process.publish(orders)


def _leave_behind(process: Process, grant: Grant, attempt: Attempt, came_to: Reply | Verdict) -> None:
    """What an attempt has stored and nothing points to can go at once; else a sweeper finds it a little later."""
    is_of_chain = grant.call and not came_to.kept  # whose earlier answer may be what the next step gets: sift.lua looks
    is_unwanted = attempt.value.key and not is_of_chain and (not came_to.kept or came_to.state == "failed")
    if not (attempt.leaves or is_unwanted):
        return
    try:
        process.ledger.note_unwanted(grant.held)
    except LedgerUnavailable as error:
        log.warning("%s %s: what it stored is removed later: %s", grant.request_id, grant.name, error)


def _answer(process: Process, grant: Grant, attempt: Attempt) -> Answer | None:
    """What a chord came to whose last stage this was. One that was tried again may have left another end behind."""
    return None if grant.generation > 1 else partial(process.reader.made_by, grant.ref, attempt.value)


def _stored(grant: Grant, attempt: Attempt) -> bytes:
    """What the ledger keeps of an output. An empty one says nothing, but as a chord's result it is a value."""
    is_kept = attempt.value.items or not grant.ref.isdigit() or (grant.call and attempt.state in ("ok", "empty"))
    return attempt.value.to_bytes() if is_kept else b""


def bounded_attempt(process: Process, grant: Grant, call: Bounded[Chunk]) -> Attempt:
    """Run a bounded call under this process's lease, and store the chunks it produces."""
    started = time.monotonic()
    process.keeper.hold(grant.held, call.stop)
    writer = payload_writer(process, grant)
    try:
        for chunk in call.chunks(grant.ends_in_ms / 1000, process.threads):
            with process.ledger.answering():
                writer.add(chunk)
        with process.ledger.answering():
            return answered(writer.close(), call.run_s)
    except BaseException as error:
        if _is_outage(error, grant, call):
            process.keeper.drop(grant.held)
            raise  # nothing can be settled either: the lease lapses, and the run is fetched again
        if not isinstance(error, Exception) and error is not call.raised:
            raise  # a signal ends this process, which hands back what it holds
        hanging = process.count_abandoned(call)
        if call.is_abandoned:
            log.warning("%s: its thread was left behind hanging; this process has %d of those", grant.name, hanging)
        return replace(failed(error, time.monotonic() - started), leaves=writer.has_stored)


def _is_outage(error: BaseException, grant: Grant, call: Bounded[Chunk]) -> bool:
    """Whether our ledger is away. A collector may meet that in requests of its own; a stage reads its input from us."""
    return isinstance(error, LedgerUnavailable) and (error is not call.raised or not grant.ref.isdigit())


def context_of(grant: Grant) -> context.Context:
    """What an attempt's own code may know about it."""
    return context.Context(
        request_id=grant.request_id,
        topic=grant.topic,
        name=grant.name,
        attempt=grant.attempt,
        generation=grant.generation,
        deadline_at=at(grant.deadline_at),
        ends_at=at(grant.ends_at),
    )


def enter_context(grant: Grant) -> None:
    """Let the code that follows in this thread or coroutine know which attempt it is."""
    context.enter(context_of(grant))


def payload_writer(process: Process, grant: Grant) -> PayloadWriter:
    """Takes this attempt's output: what is large goes under a key that no other attempt writes."""
    held = grant.held
    note = partial(process.ledger.note_stored, held)
    cap = Cap.of_run(process.settings) if grant.ref.isdigit() else Cap.of_request(process.settings)
    return process.store.writer(process.ledger.payload_key(held), note, open_s=grant.finish_in_ms / 1000, cap=cap)


def _report_end(process: Process, grant: Grant, attempt: Attempt, reply: Reply | Verdict) -> None:
    what = f"{grant.request_id} {grant.name}"
    if not reply.kept:
        log.info("%s: attempt %d came too late (%s)", what, grant.attempt, reply.reason)
        return
    why = f": {attempt.error.message}" if attempt.error else ""
    items = "1 item" if attempt.value.items == 1 else f"{attempt.value.items} items"
    log.info("%s: %s after %.2f s, %s%s", what, reply.state, attempt.run_s, items, why)
    process.tell(_event(grant, reply.state, attempt, reply.delay_ms))


def _event(grant: Grant, state: str, attempt: Attempt | None = None, delay_ms: float | None = None) -> Event:
    return Event(
        request_id=grant.request_id,
        subject="run" if grant.ref.isdigit() else "link" if grant.ref.startswith("link") else "stage",
        name=grant.name,
        state=state,
        at_ms=int(time.time() * 1000),
        attempt=grant.attempt,
        items=attempt.value.items if attempt else 0,
        error=attempt.error if attempt else None,
        delay_s=None if delay_ms is None else delay_ms / 1000,
    )
