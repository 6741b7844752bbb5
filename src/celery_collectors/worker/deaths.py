"""What a worker's main process sees of its tasks.

A process died, or hit a hard time limit; a task was revoked, or is not known here; the broker is gone, and with it what
was reserved.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections.abc import Sequence
from typing import Any

import msgspec
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.utils.imports import symbol_by_name
from celery.worker import state

from celery_collectors.dispatch import HEADER, each_of, order_of
from celery_collectors.errors import CollectorsError
from celery_collectors.ledger import Order
from celery_collectors.model import ErrorInfo
from celery_collectors.worker.process import Process, Runtime

log = logging.getLogger(__name__)


class Note(msgspec.Struct, frozen=True):
    """How a task ended that can't say so itself.

    Attributes:
        order: The run or stage, as its message named it.
        pid: The process that had it; ``None`` if nobody ran it, or the pool can't end it.
        ended, error: Its state and why; ``None`` if it is to be tried again, as after a crash, or if it was only
            reserved, and its message is gone.
        unregistered_on: The worker that was given it and does not know its task; then nothing has ended.
    """

    order: dict[str, Any]
    pid: int | None = None
    ended: str | None = None
    error: ErrorInfo | None = None
    unregistered_on: str = ""


_REVOKED = ErrorInfo(type="Revoked", kind="system", message="its task was revoked", retryable=True)
_OVER_LIMIT = ErrorInfo(type="Timeout", kind="transient", message="ran into its hard time limit", retryable=True)


def noting(runtime: Runtime, theirs: str | type) -> type:
    """A task's request class that also notes what happened to a run of ours.

    It never raises and never waits: the hub's thread is in it.
    """

    class Request(symbol_by_name(theirs)):  # type: ignore[misc]
        """Celery's request, which also notes deaths."""

        def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
            """Note the death, then do what Celery does."""
            cause = getattr(exc_info.exception, "exc", exc_info.exception)
            if not return_ok and self.worker_pid:
                if isinstance(cause, WorkerLostError):
                    self._note(self.worker_pid)
                elif isinstance(cause, TimeLimitExceeded):
                    self._note(self.worker_pid, "timed_out", _OVER_LIMIT)
                elif isinstance(cause, Terminated) and self._already_cancelled:
                    self._note(self.worker_pid)  # by its own worker, which had lost the broker
                elif isinstance(cause, Terminated):
                    self._note(None, "cancelled", _REVOKED)
            return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

        def terminate(self, pool: Any, signal: Any = None) -> Any:
            """Note it before the pool is asked, because not every pool can end what runs."""
            self._note(None, "cancelled", _REVOKED)
            return super().terminate(pool, signal)

        def _announce_revoked(self, reason: str, terminated: Any, signum: Any, expired: Any) -> None:
            if not expired:  # our messages don't expire: the ledger ends what is late
                self._note(None, "cancelled", _REVOKED)
            super()._announce_revoked(reason, terminated, signum, expired)

        def _note(self, pid: int | None, *ended: Any) -> None:
            order = order_of(self._request_dict.get(HEADER), self.id)
            if order is not None:
                runtime.deaths.put(Note(dict(order), pid, *ended))

    return Request


def watch(runtime: Runtime) -> None:
    """Let the requests of every task of the app note deaths; those of other messages are as they were."""
    for task in runtime.app.tasks.values():
        if not hasattr(task.Request, "_note"):
            task.Request = noting(runtime, task.Request)


def survive(runtime: Runtime, consumer: Any) -> None:
    """Let a worker that loses its broker note what it had reserved, and live on.

    Celery forgets what was reserved, and leaves it to the broker to deliver it again. RabbitMQ does; on a Redis it
    stays hidden for an hour, unless it could be put back in time. That is tried even when the connection is half
    closed already, where it can only fail, in a way that ends the worker (seen with kombu 5.7).
    """
    theirs = consumer.on_connection_error_after_connected
    if hasattr(theirs, "notes_reserved"):
        return

    def on_connection_error_after_connected(error: Exception) -> None:
        channel, connection = getattr(consumer.task_consumer, "channel", None), consumer.connection
        if hasattr(channel, "do_restore"):  # a broker that does not deliver again by itself
            for request in set(state.reserved_requests) - set(state.active_requests):
                _note_reserved(runtime, request)
            connection.close = lambda: _close_for_good(connection, channel)
        theirs(error)

    on_connection_error_after_connected.notes_reserved = True  # type: ignore[attr-defined]
    consumer.on_connection_error_after_connected = on_connection_error_after_connected


def _note_reserved(runtime: Runtime, request: Any) -> None:
    order = order_of(request.request_dict.get(HEADER), request.id)
    if order is not None:
        runtime.deaths.put(Note(dict(order)))


def _close_for_good(connection: Any, channel: Any) -> None:
    channel.do_restore = False  # what could be put back has been, when the connection was collected
    channel.basic_ack = channel.basic_reject = _gone
    connection.release()


def _gone(*_: Any, **__: Any) -> None:
    """What still runs is acknowledged over a channel that is no more: an error that Celery forgives.

    Raises:
        ConnectionResetError: always; without this an AttributeError would end the worker.
    """
    raise ConnectionResetError("the broker went away after it had sent this message")


def note_unregistered(runtime: Runtime, consumer: Any, message: Any, task_id: str) -> None:
    """Note that this worker was given a message of ours and has no code for it; Celery drops such a message."""
    order = order_of((message.headers or {}).get(HEADER), task_id)
    if order is not None:
        runtime.deaths.put(Note(dict(order), unregistered_on=consumer.hostname))


class Reporter(threading.Thread):
    """Tells the ledger of deaths, so that their runs go on at once instead of when the lease lapses."""

    def __init__(self, process: Process) -> None:
        super().__init__(name="collectors-deaths", daemon=True)
        self._process = process
        self._notes: queue.SimpleQueue[Note] = process.runtime.deaths

    def run(self) -> None:
        """Report for ever."""
        while True:
            note = self._notes.get()
            try:
                self._report(note)
            except CollectorsError as error:
                log.warning("a death could not be reported; the lease will lapse instead: %s", error)
            except Exception:
                log.exception("a death could not be reported; the lease will lapse instead")

    def _report(self, note: Note) -> None:
        orders = list(each_of(note.order))
        if note.unregistered_on:
            for order in orders:
                self._process.ledger.unregistered(order, note.unregistered_on)
            return
        process = None if note.pid is None else f"{socket.gethostname()}:{note.pid}:"
        reply = self._process.ledger.died_together(orders, process, note.ended, note.error)
        if reply.in_place:
            log.warning("%s %s: its process %d died", note.order["request_id"], reply.in_place, note.pid)
        elif reply.kept:
            log.warning("%s %s: %s", note.order["request_id"], note.order["ref"], _what(note))
        following = reply.orders if note.pid is None else [*reply.orders, *self._unread(orders, reply.orders)]
        self._process.publish(following)

    def _unread(self, orders: Sequence[dict[str, Any]], following: Sequence[Order]) -> Sequence[Order]:
        """Those of a pack that had not begun in a process that died: their message is gone with it."""
        called = {order.ref for order in following}
        left = [order for order in orders if order["ref"] not in called]
        return self._process.ledger.died_together(left, None).orders if len(orders) > 1 and left else ()


def _what(note: Note) -> str:
    if note.error is not None:
        return note.error.message
    if note.pid is not None:
        return f"its process {note.pid} died"
    return "was reserved when the broker went away, and is called for anew"
