"""The handle of one request: wait for it, look at it, follow it, end it, try it again, let it go first."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from celery_collectors.calls import plain_call
from celery_collectors.client import Client
from celery_collectors.dispatch import PRIORITIES
from celery_collectors.errors import RefusedError, RequestError, RequestUnknown, WaitTimeout
from celery_collectors.events import Event
from celery_collectors.ledger import Reply
from celery_collectors.ledger.asked import Question, read_asked, read_call
from celery_collectors.ledger.choice import FAILED, choose
from celery_collectors.model import REQUEST_ENDED, Report, RequestState
from celery_collectors.plan import as_names, check_times, check_word

BLOCK_S = 1.0
LOOKED_AT_BYTES = 256 * 1024
BLOB_LOOKED_AT_BYTES = 4 * 1024 * 1024


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """What a retry began.

    Attributes:
        generation: The request's new one.
        runs: The names of the runs that run again; empty if only the stages do.
        left: The names of those that failed and are left as they are, because trying again can't help.
    """

    generation: int
    runs: tuple[str, ...]
    left: tuple[str, ...] = ()


class Request:
    """One question put to a set of subcollectors.

    Made by :meth:`Collectors.request` and :meth:`Collectors.get`, in any process that reaches the ledger.

    Attributes:
        id: The request's UUID.
    """

    def __init__(self, request_id: str, client: Client) -> None:
        self.id = request_id
        self._client = client
        self._ledger = client.ledger
        self._reader = client.reader

    def __repr__(self) -> str:
        return f"<Request {self.id}>"

    def wait(self, timeout: float | None = None) -> Report:
        """Wait until the request is final, and return its report.

        Needs no worker to come to an end: past the deadline the waiter itself lets the ledger end it.

        Args:
            timeout: Seconds to wait at most; by default until the request ends, which it does by
                deadline + ``finish_s``.

        Raises:
            WaitTimeout: when the timeout is over; the request goes on.
            RequestUnknown: when the ledger does not hold it.
            LedgerUnavailable: when the ledger does not answer.
        """
        ends_at = _ends_at(timeout)
        with self._reader.end_of(self.id) as wait_for_end:
            while True:
                while not self._is_over():
                    wait_for_end(self._block_s(ends_at, timeout))
                report = self.report()
                if report.is_final:  # else somebody has just retried it
                    return report

    def _block_s(self, ends_at: float | None, timeout: float | None) -> float:
        left_s = BLOCK_S if ends_at is None else ends_at - time.monotonic()
        if left_s <= 0:
            raise WaitTimeout(f"request {self.id} is still {self.state} after {timeout} s; it goes on")
        return min(BLOCK_S, left_s)

    def report(self) -> Report:
        """Return the report as of now; its ``items()`` are those of :meth:`items`.

        Raises:
            RequestUnknown: when the ledger does not hold it.
        """
        return self._reader.report(self.id).with_items(self.items)

    @property
    def state(self) -> RequestState:
        """The request's state as of now; ``unknown`` when the ledger does not hold it."""
        return self._ledger.state(self.id)

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to its present generation; :meth:`report` says the same and reads all of it."""
        return self.state in REQUEST_ENDED

    def events(self, after: str = "0", timeout: float | None = None) -> Iterator[Event]:
        """Yield what happened and what happens, over all generations, until the request is final.

        Args:
            after: An event's ``id`` to go on from; by default from the beginning.
            timeout: Seconds to follow at most.

        Raises:
            WaitTimeout: when the timeout is over before the request is final.
            RequestUnknown: when the ledger does not hold the request.
        """
        ends_at = _ends_at(timeout)
        while True:
            found = self._reader.events(self.id, after, block_s=self._block_s(ends_at, timeout))
            for event in found:
                after = event.id
                yield event
                ends = event.subject == "request" and event.state in REQUEST_ENDED
                if ends and event.generation >= self._ledger.generation(self.id):
                    return
            if not found and self._is_over():
                return

    def happened(self, after: str = "0") -> list[Event]:
        """Return what has happened after an event, up to 500 events at once; waits for nothing.

        Raises:
            RequestUnknown: when the ledger does not hold the request.
        """
        found = self._reader.events(self.id, after)
        if not found:
            self._is_over()  # past the deadline whoever looks lets the ledger end it
        return found

    def recorded(self, after: str = "0") -> list[Event]:
        """Return all that has happened after an event, however much; waits for nothing.

        Raises:
            RequestUnknown: when the ledger does not hold the request.
        """
        found = list[Event]()
        while more := self.happened(found[-1].id if found else after):
            found += more
        return found

    def now_ms(self) -> float:
        """Return the time now as the ledger has it, in milliseconds since 1970.

        A request's times are the ledger's; how long ago they were only its clock tells, not this machine's.
        """
        return self._reader.now_ms()

    def last_event_id(self) -> str:
        """Return the ``id`` of the newest event so far, for :meth:`happened` and :meth:`events` to go on from."""
        return self._ledger.last_event_id(self.id)

    def _is_over(self) -> bool:
        state = self.state
        if state is RequestState.UNKNOWN:
            raise RequestUnknown(self.id)
        if state in REQUEST_ENDED:
            return True
        self._client.publish(self._ledger.end_if_over(self.id).orders)
        return False

    def items(self) -> Iterator[Any]:
        """Yield the request's items: cleaned if there is a cleanup stage, else as they were collected.

        Raises:
            RequestUnknown: when the ledger does not hold the request.
            PayloadError: when stored items are damaged or gone.
        """
        if self.state is RequestState.UNKNOWN:
            raise RequestUnknown(self.id)
        return self._reader.items_before(self.id, "process")

    def asked(self) -> Question:
        """Return what the request was asked with, and what of each of its runs and stages.

        Raises:
            RequestUnknown: when the ledger does not hold the request.
        """
        return read_asked(self._ledger, self.id)

    def arguments(self, ref: str) -> list[dict[str, Any]] | None:
        """Return the task, arguments and options of a chord's member or callback, one for each step of a chain.

        ``None`` where there are none of its own, where they are not JSON, or more than 256 KiB.

        Args:
            ref: A run's place in the order asked, or a stage's word.
        """
        call = read_call(self._ledger, self.id, ref, LOOKED_AT_BYTES)
        return None if call is None else plain_call(call)

    def first_items(self, ref: str | None = None, most: int = 5) -> list[Any] | None:
        """Return the first of the request's items, or of one run's, to be looked at.

        What is too large for that is not read: what a task returned and takes more than 4 MiB, or blobs of items that
        take more than that each, which are those of huge items. There is ``None`` where the first items are so large,
        and fewer where later ones are.

        Args:
            ref: The run's place in the order asked; by default what :meth:`items` yields is looked at.
            most: How many at most.

        Raises:
            RequestUnknown: when the ledger does not hold the request.
            PayloadError: when there are none of that run, or what was stored is damaged or gone.
        """
        if self.state is RequestState.UNKNOWN:
            raise RequestUnknown(self.id)
        reader = self._reader
        values = reader.values_before(self.id, "process") if ref is None else reader.values(self.id, [ref])
        return reader.first_items(values, most, BLOB_LOOKED_AT_BYTES)

    def cancel(self, reason: str | None = None, *, by: str | None = None) -> RequestState:
        """End the request; once this returns, nothing of it starts any more.

        Args:
            reason: Why, for the report.
            by: Who, for the report.

        Returns:
            The state it is in now: ``cancelled``, or the final state that it was in already.

        Raises:
            RequestUnknown: when the ledger does not hold it.
        """
        reply = self._ledger.cancel(self.id, reason=reason, by=by)
        if reply.state == RequestState.UNKNOWN:
            raise RequestUnknown(self.id)
        self._client.publish(reply.orders)
        return RequestState(reply.state)

    def retry(
        self,
        only: str | Sequence[str] = FAILED,
        *,
        deadline: float | None = None,
        finish: float | None = None,
        force: bool = False,
    ) -> Retried:
        """Try a partial or failed request again: what answered is kept, the runs named run, and the stages do.

        That is the request's next generation, under the same id. Its deadline counts from now.

        Args:
            only: ``"failed"`` for all that did not answer, as far as that can help; or names of runs.
            deadline: Seconds until collecting ends; by default as many as before.
            finish: Seconds that the stages may take after that; by default as many as before.
            force: Try also what trying again can't help by what its error says: it was mended since.

        Raises:
            RefusedError: when it has not ended, is complete, was cancelled, or trying again can't help; when
                somebody else has just retried it; or while a chord's links of the last time are on their way.
            PolicyError: for what can't be a time.
            RequestUnknown: when the ledger does not hold it.
        """
        check_times(deadline, finish)
        ended = self._reader.ended(self.id)
        choice = choose(ended, only if only == FAILED else as_names("only", only), force=force)
        deadline_s = ended.deadline_s if deadline is None else deadline
        finish_s = ended.finish_s if finish is None else finish
        self._reader.keep(self.id, deadline_s + finish_s)
        replies = self._ledger.retry(
            self.id,
            choice.refs,
            generation=ended.generation,
            token=uuid.uuid4().hex,
            deadline_s=deadline_s,
            finish_s=finish_s,
        )
        for reply in replies:
            self._check_retried(reply)
            self._client.publish(reply.orders)
        names = tuple(ended.runs[ref].name for ref in choice.refs)
        return Retried(generation=ended.generation + 1, runs=names, left=tuple(choice.left))

    def _check_retried(self, reply: Reply) -> None:
        if reply.state == RequestState.UNKNOWN:
            raise RequestUnknown(self.id)
        if reply.reason == "follows":
            raise RefusedError(f"request {self.id} can't be tried again yet: what its end calls is still on its way")
        if not reply.kept:
            raise RefusedError(
                f"somebody else has retried request {self.id}: it is {reply.state}, in generation {reply.generation}"
            )

    def reprioritise(self, level: str) -> RequestState:
        """Let everything of the request that waits go before others, or after them.

        What waits is called for anew at that priority; what runs goes on; what starts later has it, too.

        Args:
            level: ``low``, ``normal`` or ``high``.

        Returns:
            The state it is in.

        Raises:
            RequestError: for another word.
            RefusedError: when it has ended.
            RequestUnknown: when the ledger does not hold it.
        """
        check_word("priority", level, PRIORITIES)
        state = RequestState.UNKNOWN
        for reply in self._ledger.reprioritise(self.id, level):
            state = RequestState(reply.state)
            if state is RequestState.UNKNOWN:
                raise RequestUnknown(self.id)
            if not reply.kept:
                raise RefusedError(f"request {self.id} is {state}: nothing of it waits any more")
            self._client.publish(reply.orders)
        return state


def _ends_at(timeout_s: float | None) -> float | None:
    if timeout_s is not None and not isinstance(timeout_s, (int, float)):
        raise RequestError(f"timeout is a number of seconds, not {timeout_s!r}")
    return None if timeout_s is None else time.monotonic() + timeout_s
