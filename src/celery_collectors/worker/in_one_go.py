"""Several short stages one after another in memory, each from what the one before it made.

What lies between them is encoded and decoded all the same, so that a stage gets what it would get from the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from celery_collectors.errors import CollectError, PayloadsUnavailable
from celery_collectors.ledger import Grant
from celery_collectors.model import STAGES, Outcome, Report, RunState
from celery_collectors.payloads import decode_items, encode_items, encode_result
from celery_collectors.payloads.codec import Chunk, chunks_of
from celery_collectors.registry import Stage, asks_for, fill
from celery_collectors.worker.attempt import Attempt, answered, as_items, failed, stage_ended
from celery_collectors.worker.bounded import Within
from celery_collectors.worker.fetch import enter_context, payload_writer
from celery_collectors.worker.process import Process
from celery_collectors.worker.run import Arguments

NOTHING_GIVEN: Arguments = ((), {})


def run_stage(stage: Stage, data: Any, by_name: Mapping[str, Any], given: Arguments = NOTHING_GIVEN) -> Iterator[Chunk]:
    """Call a stage's function, and yield its output encoded."""
    output = fill(stage.function, data, by_name, *given)()
    if stage.ref == "process":
        yield from chunks_of(encode_result(output, of=stage.function.__name__))
    else:
        yield from encode_items(as_items(output), of=stage.function.__name__)


class Data(NamedTuple):
    """What the first of them gets: its data, and the arguments that a chord gives its callback beside it."""

    items: Iterator[Any]
    given: Arguments


class _Made(NamedTuple):
    grant: Grant
    chunks: list[Chunk]
    run_s: float


class InOneGo:
    """The stages that a grant names, executed in a helper thread.

    Args:
        process: This process.
        grant: That of the first stage, which names the others.
        data: What the first gets.
        within: Entered in the helper thread.
    """

    def __init__(self, process: Process, grant: Grant, data: Data, within: Within) -> None:
        self._process = process
        self._grants = [grant, *_following(grant, process)]
        self._data = data
        self._within = within
        self._made: list[_Made] = []

    def produce(self) -> Iterator[Chunk]:
        """Run them all; nothing is handed over on the way, because all of it is small."""
        items, given = self._data
        with self._within():
            for grant in self._grants:
                began_at = time.monotonic()
                chunks = list(self._one(grant, items, given))
                self._made.append(_Made(grant, chunks, time.monotonic() - began_at))
                items, given = (item for chunk in chunks for item in decode_items(chunk)), NOTHING_GIVEN
        yield from ()

    def _one(self, grant: Grant, items: Iterator[Any], given: Arguments) -> Iterator[Chunk]:
        enter_context(grant)
        stage = self._process.registry.stages[grant.ref]
        by_name: dict[str, Any] = {"topic": grant.topic, "request_id": grant.request_id}
        if asks_for(stage.function, "report"):
            by_name["report"] = self._report(grant)
        return run_stage(stage, items, by_name, given)

    def _report(self, grant: Grant) -> Report:
        """As it would be, had those before been committed already."""
        with self._process.reading() as reader:
            report = reader.report(grant.request_id)
        before = {made.grant.ref: _outcome(made, self._process.worker) for made in self._made}
        return msgspec.structs.replace(report, state=STAGES[grant.ref], stages=report.stages | before)

    def conclude(self, last: Attempt) -> list[tuple[Grant, Attempt]]:
        """How each of them ended that has begun; what they made is stored now.

        Args:
            last: How it ended as a whole: an error is that of the stage that was under way, if one still was.
        """
        made = list(self._made)
        ended: list[tuple[Grant, Attempt]] = []
        for one in made:
            ended.append((one.grant, self._stored(one)))
            if ended[-1][1].error is not None:
                return ended  # what was made from it is void with it
        under_way = self._grants[len(made) :]
        return [*ended, (under_way[0], last)] if last.error is not None and under_way else ended

    def _stored(self, made: _Made) -> Attempt:
        writer = payload_writer(self._process, made.grant)
        try:
            with self._process.ledger.answering():
                for chunk in made.chunks:
                    writer.add(chunk)
                return stage_ended(answered(writer.close(), made.run_s))
        except (CollectError, PayloadsUnavailable) as error:
            return msgspec.structs.replace(failed(error, made.run_s), leaves=writer.has_stored)


def _following(grant: Grant, process: Process) -> Iterator[Grant]:
    """The grants of the stages after the first, as far as this worker has code for them."""
    for then in grant.then:
        if then.ref not in process.registry.stages:
            return
        yield grant.along(then, ())


def _outcome(made: _Made, worker: str) -> Outcome:
    return Outcome(
        state=RunState.OK,
        attempts=made.grant.attempt,
        items=sum(chunk.items for chunk in made.chunks),
        bytes=sum(len(chunk.data) for chunk in made.chunks),
        run_s=round(made.run_s, 3),
        worker=worker,
    )
