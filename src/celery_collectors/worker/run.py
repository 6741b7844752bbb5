"""Executing one run: in a helper thread, or as a coroutine on the process's loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import anyio
from msgspec.structs import replace

from celery_collectors.errors import CollectError, PayloadError, PayloadsUnavailable, Stopped, TimedOut
from celery_collectors.ledger import Grant
from celery_collectors.payloads import PayloadWriter, Value, encode_items
from celery_collectors.payloads.codec import Chunk, ItemBuffer
from celery_collectors.payloads.plain import UNCHANGING
from celery_collectors.registry import Collector, fill
from celery_collectors.worker.attempt import Attempt, Ended, answered, as_items, failed, is_async_items
from celery_collectors.worker.bounded import Bounded, Within
from celery_collectors.worker.data import data_of
from celery_collectors.worker.fetch import (
    bounded_attempt,
    enter_context,
    fetch,
    payload_writer,
    settle,
    settle_together,
)
from celery_collectors.worker.process import Process
from celery_collectors.worker.settler import Settler

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
"""A call's positional arguments after its data, and those by keyword."""


def execute_run(
    process: Process, collector: Collector, order: Mapping[str, Any], within: Within, given: Arguments
) -> Ended:
    """Fetch a run from the ledger and execute it.

    Args:
        process: This process.
        collector: Whose run it is.
        order: Which run, from the message.
        within: Entered in the thread that runs the collector's code.
        given: The message's arguments, with which a chord calls a collector.

    Returns:
        How it ended, and the stage to go on with; both empty if there was nothing to run, or it now runs
        as a coroutine.
    """
    if collector.is_async:
        with process.loop.slots(1) as (_, start):
            grant = fetch(process, order)
            if grant is not None:
                start(OnLoop(process, grant, _call(process, collector, grant, order, given)))
        return Ended()
    grant = fetch(process, order)
    if grant is None:
        return Ended()
    call = _call(process, collector, grant, order, given)
    attempt = bounded_attempt(process, grant, _in_thread(call, grant, within))
    return Ended(attempt=attempt, next=settle(process, grant, attempt, go_on=True).next)


def call_of(collector: Collector, topic: str, request_id: str) -> Callable[[], Any]:
    """The collector's call, with its parameters filled in."""
    return fill(collector.function, topic, {"topic": topic, "request_id": request_id})


def _call(
    process: Process, collector: Collector, grant: Grant, order: Mapping[str, Any], given: Arguments
) -> Callable[[], Any]:
    """The collector's call: for a topic, or as the chord says that it is a member of."""
    if not order.get("call"):
        return call_of(collector, grant.topic, grant.request_id)

    args, kwargs = given
    try:
        data = data_of(process, process.reader, grant, order)
    except PayloadError as error:
        return partial(_raise, error)
    return partial(collector.function, *data, *args[len(data) :], **kwargs)


def _raise(error: Exception) -> None:
    raise error


def _in_thread(call: Callable[[], Any], grant: Grant, within: Within) -> Bounded[Chunk]:
    def produce() -> Iterator[Chunk]:
        with within():
            enter_context(grant)
            yield from encode_items(as_items(call()), of=grant.name)

    return Bounded(produce, f"{grant.name} {grant.request_id}")


class OnLoop:
    """One run as a coroutine. Its lease is kept from before it starts, so that an ending process sees it."""

    def __init__(self, process: Process, grant: Grant, call: Callable[[], Any]) -> None:
        self._process = process
        self._grant = grant
        self._call = call
        self._told: str | None = None
        self._scope: anyio.CancelScope | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limit_s = grant.ends_in_ms / 1000
        self.ends_at = time.monotonic() + self._limit_s
        process.keeper.hold(grant.held, self._stop)

    def __str__(self) -> str:
        return f"{self._grant.name} {self._grant.request_id}"

    def _stop(self, reason: str) -> None:
        self._told = reason
        if self._loop is not None:  # else it has not begun, and will not
            self._loop.call_soon_threadsafe(self._cancel)

    def hand_back(self) -> None:
        """Stop it, and give its run back: another coroutine blocks the loop."""
        self._stop("handed back")
        settle(self._process, self._grant, Attempt(state="queued"))

    def time_out(self) -> None:
        """Stop it, and settle it as timed out: it blocks the loop, and so its limit there could not strike."""
        self._stop("timed_out")
        why = f"did not end within its {self._limit_s:.1f} s, in which it kept its event loop from turning: await what"
        error = TimedOut(f"{why} it waits for, or declare it with def instead of async def")
        settle(self._process, self._grant, failed(error, self._limit_s))

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    async def run(self) -> None:
        """Run to the end, and settle."""
        process, grant, limit_s = self._process, self._grant, self._limit_s
        self._loop = asyncio.get_running_loop()
        started = time.monotonic()
        writer = payload_writer(process, grant)
        outcome: Callable[[], Value] | BaseException = TimedOut(f"did not end within its {limit_s:.1f} s")
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + limit_s) as self._scope:
                if self._told is None:
                    outcome = await _collect(process, self._call, grant, writer)
        except BaseException as error:  # noqa: BLE001 - the collector's boundary
            outcome = error
        if self._told is not None:
            outcome = Stopped(self._told)
        conclude: Callable[[], Attempt] = partial(_conclude, process, outcome, writer, time.monotonic() - started)
        if isinstance(outcome, _Output) and outcome.is_large:
            conclude = await _concluded(process, conclude)
        await _settler(process).settle(grant, conclude)


async def _collect(process: Process, call: Callable[[], Any], grant: Grant, writer: PayloadWriter) -> _Output:
    enter_context(grant)
    buffer = ItemBuffer(of=grant.name)
    some, wanted = list[Any](), buffer.wanted
    async for item in each_item(call()):
        some.append(item)
        unchanging = type(item) in UNCHANGING
        if len(some) >= wanted or not unchanging:
            chunk, some = buffer.add(some, unchanging=unchanging), []
            wanted = buffer.wanted
            if chunk is not None:
                await process.loop.in_thread(partial(writer.add, chunk))
    return _Output(writer, [chunk for chunk in (buffer.add(some), buffer.flush()) if chunk is not None])


class _Output:
    """What a coroutine has produced, the last of it not stored yet."""

    def __init__(self, writer: PayloadWriter, rest: Sequence[Chunk]) -> None:
        self._writer = writer
        self._rest = rest

    @property
    def is_large(self) -> bool:
        """Whether storing it takes the time that a store takes."""
        return not self._writer.stays_inline(sum(len(chunk.data) for chunk in self._rest))

    def __call__(self) -> Value:
        """Store it, and return what the ledger keeps for it."""
        for chunk in self._rest:
            self._writer.add(chunk)
        return self._writer.close()


async def _concluded(process: Process, conclude: Callable[[], Attempt]) -> Callable[[], Attempt]:
    """Store what is large beside the settling, for which runs of other requests wait, too."""
    try:
        attempt: Attempt = await process.loop.in_thread(conclude)
    except Exception as error:  # noqa: BLE001 - the settler meets it, and says so
        return partial(_never, error)
    return lambda: attempt


def _never(error: Exception) -> Attempt:
    raise error  # not stored again: what was taken before would be there twice


def _settler(process: Process) -> Settler:
    if process.settler is None:
        process.settler = Settler(partial(settle_together, process), process.keeper.drop, process.loop.settlers)
    return process.settler


def _conclude(
    process: Process, outcome: Callable[[], Value] | BaseException, writer: PayloadWriter, run_s: float
) -> Attempt:
    attempt = _attempt(process, outcome, run_s)
    return replace(attempt, leaves=writer.has_stored and not attempt.value.key)


def _attempt(process: Process, outcome: Callable[[], Value] | BaseException, run_s: float) -> Attempt:
    if isinstance(outcome, BaseException):
        return failed(outcome, run_s)
    try:
        with process.ledger.answering():
            return answered(outcome(), run_s)
    except (CollectError, PayloadsUnavailable) as error:
        return failed(error, run_s)


async def each_item(result: Any) -> AsyncIterator[Any]:
    """The items of what an async collector returned: a coroutine of a list, or an async generator."""
    if not is_async_items(result):
        result = await result
    if is_async_items(result):
        async for item in result:
            yield item
        return
    for item in as_items(result):
        yield item
