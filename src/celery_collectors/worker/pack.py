"""Executing a pack: several runs of one request whose messages are one.

Coroutines, which all start on the process's loop; or runs known to be short, which take turns in one helper thread.
Each stays a run of its own, with its lease, its time limit and its outcome. What a pack must never do is let one of
them hold up the others: if it is not through after a second, those that have not begun are given up, and called for
one by one.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from celery_collectors.dispatch import each_of
from celery_collectors.errors import CollectError, PayloadsUnavailable, Stopped
from celery_collectors.ledger import Grant
from celery_collectors.payloads import PayloadWriter, Value, encode_items
from celery_collectors.payloads.codec import Chunk
from celery_collectors.worker.attempt import Attempt, Ended, answered, as_items, failed
from celery_collectors.worker.bounded import Bounded, Within
from celery_collectors.worker.fetch import enter_context, fetch_together, payload_writer, settle_together
from celery_collectors.worker.process import UNWANTED, Process
from celery_collectors.worker.run import OnLoop, call_of
from celery_collectors.worker.threads import Abandoned, is_marked

log = logging.getLogger(__name__)

OVERRUN_S = 1.0
ENDS_A_TURN = (CollectError, PayloadsUnavailable)
"""What ends a turn from outside its code: its time, a cancel, what it may produce, a store that is away."""

Call = Callable[[], Any]


def execute_pack(process: Process, order: Mapping[str, Any], within: Within) -> Ended:
    """Fetch a pack's runs from the ledger, and execute them.

    Args:
        process: This process.
        order: Which runs, from the message.
        within: Entered in the thread that runs the collectors' code.

    Returns:
        How the one ended that had to be stopped, if any, and the stage to go on with in place.
    """
    orders = list(each_of(order))
    if order["on_loop"]:
        _start_on_loop(process, orders)
        return Ended()
    turns = [Turn(process, grant, call) for grant, call in _known_here(process, orders, on_loop=False)]
    return TakingTurns(process, turns, within).execute() if turns else Ended()


def _start_on_loop(process: Process, orders: Sequence[Mapping[str, Any]]) -> None:
    """Start coroutines, as many at a time as there is room for; the others are fetched when there is room for them."""
    at = 0
    while at < len(orders):
        with process.loop.slots(len(orders) - at) as (room, start):
            for grant, call in _known_here(process, orders[at : at + room], on_loop=True):
                start(OnLoop(process, grant, call))
            at += room


def _known_here(
    process: Process, orders: Sequence[Mapping[str, Any]], *, on_loop: bool
) -> Iterator[tuple[Grant, Call]]:
    """Fetch runs; those that this worker's code has no such collector for go back, to be called for one by one."""
    unknown = []
    for grant in fetch_together(process, orders):
        collector = process.registry.find(grant.name)
        if collector is None or collector.is_async != on_loop:
            unknown.append((grant, Attempt(state="queued")))
        else:
            yield grant, call_of(collector, grant.topic, grant.request_id)
    if unknown:
        settle_together(process, unknown)


class Turn:
    """One run of a pack, and what becomes of it.

    Args:
        process: This process.
        grant: The run's.
        call: Its collector's.
    """

    def __init__(self, process: Process, grant: Grant, call: Call) -> None:
        self.grant = grant
        self.began_at: float | None = None
        self.has_ended = False
        self.attempt: Attempt | None = None
        self._process = process
        self._call = call
        self._writer: PayloadWriter | None = None
        self._rest: Chunk | None = None
        self._handed = self._taken = 0
        self._error: BaseException | None = None
        self._run_s = 0.0

    def chunks(self) -> Iterator[Chunk]:
        """Run the collector's code; yield what it produces but for the last chunk, which in most cases is all."""
        enter_context(self.grant)
        for chunk in encode_items(as_items(self._call()), of=self.grant.name):
            if self._rest is not None:
                self._handed += 1
                yield self._rest
            self._rest = chunk

    @property
    def is_through(self) -> bool:
        """Whether it can be settled: its code may have ended while chunks that it produced are yet to be stored."""
        is_stored = self.has_ended and self._taken == self._handed
        return is_stored or self._error is not None or self.attempt is not None

    def end(self, error: BaseException | None = None) -> None:
        """Its code has ended, or is not waited for any more; what comes first counts."""
        if self.has_ended:
            return
        if self.began_at is not None:
            self._run_s = time.monotonic() - self.began_at
        if error is not None:
            self._error = error
        self.has_ended = True

    def strike(self, error: BaseException) -> None:
        """It ends with this, also where its code has ended well and what it produced can't be stored."""
        self.end(error)
        self._error = self._error or error

    def take(self, chunk: Chunk) -> None:
        """Store one chunk of what it produces, if that is still wanted."""
        if self._error is None and self.attempt is None:
            self._store(chunk)
        self._taken += 1

    def _store(self, chunk: Chunk) -> None:
        if self._writer is None:
            self._writer = payload_writer(self._process, self.grant)
        self._writer.add(chunk)

    def conclude(self) -> Attempt:
        """How it ended; what it has produced last is stored now."""
        if self._error is None:
            try:
                self.attempt = answered(self._value(), self._run_s)
            except ENDS_A_TURN as error:
                self._error = error
        if self._error is not None:
            self.attempt = msgspec.structs.replace(failed(self._error, self._run_s), leaves=self._leaves)
        assert self.attempt is not None
        return self.attempt

    def hand_back(self) -> None:
        """It is to be called for again."""
        self.attempt = Attempt(state="queued", leaves=self._leaves)

    @property
    def _leaves(self) -> bool:
        return self._writer is not None and self._writer.has_stored

    def _value(self) -> Value:
        if self._rest is None:
            return Value()
        self._store(self._rest)
        assert self._writer is not None
        return self._writer.close()


class InTurn(Bounded[tuple[Turn, Chunk]]):
    """Turns one after another in one helper thread, each within its own time limit.

    Args:
        turns: Those that are to begin.
        within: Entered in the helper thread.
        overrun_at: When the pack they are of should be through, as :func:`time.monotonic` counts.
        on_overrun: Called once, in the thread that waits, if they are not through then.
    """

    def __init__(
        self, turns: Sequence[Turn], within: Within, overrun_at: float, on_overrun: Callable[[], None]
    ) -> None:
        super().__init__(self._produce, f"a pack of {turns[0].grant.request_id}")
        self._waiting = list(reversed(turns))
        self._within = within
        self._on_overrun = on_overrun
        self._overrun_at = overrun_at
        self._beginning = threading.Lock()
        self.now: Turn | None = None
        self.overdue: Turn | None = None

    def give_up(self) -> list[Turn]:
        """Let no more turns begin; return those that have not."""
        with self._beginning:
            given_up, self._waiting = self._waiting[::-1], []
        return given_up

    def _begin(self) -> Turn | None:
        with self._beginning:
            wanted = [turn for turn in self._waiting if not turn.is_through]
            if self._left or not wanted:
                return None
            self.now = wanted.pop()
            self._waiting = wanted
            self.now.began_at = time.monotonic()
            return self.now

    def _produce(self) -> Iterator[tuple[Turn, Chunk]]:
        with self._within():
            while (turn := self._begin()) is not None:
                yield from _run(turn)
                if is_marked():  # the next one would find in this thread what that one left there
                    return

    def _remaining_s(self) -> float:
        now = time.monotonic()
        if now >= self._overrun_at:
            self._overrun_at = float("inf")
            self._on_overrun()
        turn = self.now
        if turn is None or turn.began_at is None or turn.has_ended:
            return OVERRUN_S
        self._limit_s = turn.grant.ends_in_ms / 1000
        if not self._handed.empty() and now < turn.began_at + self._limit_s + OVERRUN_S:
            return OVERRUN_S  # what it has produced in time is stored first
        if turn.began_at + self._limit_s <= now:
            self.overdue = turn
            return 0.0
        return min(turn.began_at + self._limit_s, self._overrun_at) - now


def _run(turn: Turn) -> Iterator[tuple[Turn, Chunk]]:
    """One turn, in a context of its own."""
    own = contextvars.copy_context()
    chunks = turn.chunks()
    while True:
        try:
            chunk = own.run(next, chunks, None)
        except Abandoned:
            raise  # nobody waits for it any more
        except BaseException as error:  # noqa: BLE001 - the collector's boundary: whatever it raises is its outcome
            return turn.end(error)
        if chunk is None:
            return turn.end()
        yield turn, chunk


class TakingTurns:
    """A pack's turns, until all have ended or were given up.

    Args:
        process: This process.
        turns: All of them.
        within: Entered in the thread that runs the collectors' code.
    """

    def __init__(self, process: Process, turns: Sequence[Turn], within: Within) -> None:
        self._process = process
        self._open = list(turns)
        self._within = within
        self._overrun_at = time.monotonic() + OVERRUN_S
        self._in_turn: InTurn | None = None
        self._reason: str | None = None
        self._stopped: Attempt | None = None

    def execute(self) -> Ended:
        """Take them, in as many helper threads as it needs; the last call to the ledger may bring a stage with it."""
        self._process.keeper.hold_all({turn.grant.held: partial(self._told, turn) for turn in self._open})
        try:
            while waiting := [turn for turn in self._open if not turn.is_through]:
                self._take(waiting)
            following = self._settle(go_on=True)
        except Exception:
            self._process.keeper.drop(*(turn.grant.held for turn in self._open))
            raise  # as when the ledger is away: the leases lapse, and the runs are fetched again
        return Ended(attempt=self._stopped, next=following)

    def _told(self, turn: Turn, reason: str) -> None:
        """A lease is gone: with it the whole pack, if nobody wants its request, else this one run."""
        if reason in UNWANTED:
            self._reason = reason  # it is said once, perhaps between two helper threads
        elif turn.is_through:
            return  # it was settled in this very moment
        elif turn.began_at is None:
            turn.hand_back()  # it must not begin any more
            return
        if self._in_turn is not None:
            self._in_turn.stop(reason)

    def _take(self, waiting: Sequence[Turn]) -> None:
        self._in_turn = call = InTurn(waiting, self._within, self._overrun_at, self._give_up_the_rest)
        if self._reason is not None:
            call.stop(self._reason)
        try:
            for turn, chunk in call.chunks(OVERRUN_S, self._process.threads):
                self._store(turn, chunk)
        except ENDS_A_TURN as error:
            self._end_now(call, error)
        except RuntimeError as error:  # no thread to be had
            log.warning("a pack can't be run here, and is called for again: %s", error)
            self._hand_back([turn for turn in self._open if not turn.is_through])

    def _store(self, turn: Turn, chunk: Chunk) -> None:
        try:
            with self._process.ledger.answering():
                turn.take(chunk)
        except ENDS_A_TURN as error:
            turn.strike(error)
            raise

    def _end_now(self, call: InTurn, error: Exception) -> None:
        """The one whose turn it is has had its time or all it may have, or nobody wants any of them any more."""
        left = call.give_up()
        hanging = self._process.count_abandoned(call)
        if call.is_abandoned:
            log.warning("a pack's thread was left behind hanging; this process has %d of those", hanging)
        struck = call.now if isinstance(error, Stopped) else call.overdue
        if struck is not None and not struck.is_through:
            struck.strike(error)
            self._stopped = struck.conclude() if isinstance(error, Stopped) else self._stopped
        # One may have begun in this very moment, in a thread that is left behind, where chunks may lie unstored, too.
        self._hand_back([turn for turn in self._open if turn.began_at is not None and not turn.is_through])
        if isinstance(error, Stopped):
            self._hand_back(left)  # the ledger knows which of them nobody wants

    def _give_up_the_rest(self) -> None:
        """They are not through in time: settle those that are, and let others be called for one by one."""
        if self._in_turn is not None:
            self._hand_back(self._in_turn.give_up())
        self._settle()

    def _hand_back(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            turn.hand_back()
        if turns:
            log.info("%d runs of a pack are called for one by one", len(turns))

    def _settle(self, *, go_on: bool = False) -> Grant | None:
        through = [turn for turn in self._open if turn.is_through]
        if not through:
            return None
        with self._process.ledger.answering():
            ended = [(turn.grant, turn.attempt or turn.conclude()) for turn in through]
        reply = settle_together(self._process, ended, go_on=go_on)
        self._open = [turn for turn in self._open if turn not in through]
        return reply.next
