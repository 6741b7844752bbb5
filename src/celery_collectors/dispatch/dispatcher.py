"""Sends orders over a connection of its own, and knows which of them the broker has confirmed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from celery_collectors.calls import decode_call
from celery_collectors.dispatch.brokers import broker_unavailable
from celery_collectors.dispatch.confirms import WAIT_S, WRITE_S, Confirms
from celery_collectors.dispatch.messages import our_queue, send_call, send_ours, send_pack
from celery_collectors.dispatch.results import Answer, store_result
from celery_collectors.errors import BrokerUnavailable
from celery_collectors.ledger import RESULT, Order
from celery_collectors.ledger.reading import Reader
from celery_collectors.plan import Pack
from celery_collectors.settings import Settings

log = logging.getLogger(__name__)

CONFIRM_AT_ONCE = 500
OURS = {"confirm_publish": False, "write_timeout": WRITE_S}  # we await confirms ourselves, and nobody for ever


class Dispatcher:
    """Sends orders over a connection of its own; a :class:`Teller` tells the ledger once the broker has them.

    Args:
        app: The Celery app whose broker is used.
        reader: Reads the results that Celery's backend is to hold, too.
        settings: Which queue is ours, and of what kind.
    """

    def __init__(self, app: Celery, reader: Reader, settings: Settings) -> None:
        self._app = app
        self._reader = reader
        self._settings = settings
        self._lock = threading.Lock()
        self._producer: Any = None
        self._confirms: Confirms | None = None
        self._queues: dict[str, Queue] = {}
        self._sent: list[Order] = []
        self._results: list[tuple[Order, Answer | None]] = []

    def send(self, orders: Iterable[Order | Pack], answer: Answer | None = None) -> None:
        """Send orders, without waiting for the broker to confirm them.

        Args:
            orders: What the ledger handed out, of one request if there is an answer; those in a pack share a message.
            answer: Tells what its chord came to, if that is at hand.

        Raises:
            BrokerUnavailable: when the broker can't be reached; the orders come again by themselves.
        """
        for batch in _batches(orders):
            results = [order for order in batch if isinstance(order, Order) and order.ref == RESULT]
            messages = [order for order in batch if order not in results] if results else batch
            with self._lock:
                self._results += [(order, answer) for order in results]
                sent = self._send(messages) if messages else []  # which may drop what was not confirmed before
                self._sent += sent

    def store_results(self) -> list[Order]:
        """Store the results that are due, and return those that the ledger should hear of."""
        with self._lock:
            results, self._results = self._results, []
        return [order for order, answer in results if self._store(order, answer)]

    def take_confirmed(self) -> list[Order]:
        """Wait until the broker has what was sent so far, and return what the ledger has not heard of yet.

        Others may send meanwhile, also while the broker does not answer.

        Raises:
            BrokerUnavailable: when the broker does not confirm; the orders come again by themselves.
        """
        with self._lock:
            confirms, count = self._confirms, len(self._sent)
            last = confirms.sent if confirms is not None else 0
        ends_at = time.monotonic() + WAIT_S
        while True:
            with self._lock:
                if confirms is not self._confirms:
                    return []  # the connection is gone, and what was not confirmed on it comes again
                try:
                    if confirms is None or confirms.has_all(last, ends_at):
                        taken, self._sent = self._sent[:count], self._sent[count:]
                        return taken
                except self._errors as error:
                    self._drop()
                    raise self._unavailable(error) from error

    def _store(self, order: Order, answer: Answer | None) -> bool:
        try:
            store_result(self._app, self._reader, order, answer)
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            log.warning("the result of %s could not be stored, which is tried again: %s", order.request_id, error)
            return False
        return True

    def _send(self, batch: Sequence[Order | Pack]) -> list[Order]:
        was_open = self._producer is not None
        try:
            return self._try_to_send(batch)
        except self._errors as error:
            self._drop()
            if was_open:  # a connection may have died unseen since it was used last: sending twice is harmless
                return self._send(batch)
            raise self._unavailable(error) from error
        except BaseException:
            self._drop()  # an interrupt: what was counted as sent may not be, and confirms would be mistaken
            raise

    def _unavailable(self, error: Exception) -> BrokerUnavailable:
        return broker_unavailable(self._app.connection_for_write(), error)

    def _try_to_send(self, batch: Sequence[Order | Pack]) -> list[Order]:
        producer = self._producer or self._connect()
        with nullcontext() if self._confirms is None else self._confirms.together():
            sent = [order for one in batch for order in self._send_one(producer, one)]
        if self._confirms is not None and self._confirms.open > CONFIRM_AT_ONCE:
            ends_at = time.monotonic() + WAIT_S
            while not self._confirms.has_all(self._confirms.sent, ends_at):
                pass
        return sent

    def _connect(self) -> Any:
        connection = self._app.connection_for_write(
            transport_options={**self._app.conf.broker_transport_options, **OURS}
        )
        connection.ensure_connection(max_retries=1, interval_start=0.1, interval_max=0.1)
        self._producer = self._app.amqp.Producer(connection, auto_declare=False)
        is_amqp = "amqp" in connection.transport.driver_type
        self._confirms = Confirms(self._producer.channel) if is_amqp else None
        self._queues = {}
        return self._producer

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        connection = self._app.connection_for_write()
        return (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)

    def _send_one(self, producer: Any, one: Order | Pack) -> Sequence[Order]:
        """Send one message, and return what it calls for; one that can't be made must not hold up the others."""
        orders = one.orders if isinstance(one, Pack) else (one,)
        try:
            if isinstance(one, Pack):
                send_pack(self._app, producer, one, self._declared(producer, orders[0].queue))
            elif one.call:
                queue = self._declared(producer, one.queue) if one.queue == self._settings.queue else None
                steps = decode_call(self._app, one.call)
                send_call(self._app, producer, one, steps[one.step], queue)
            else:
                send_ours(self._app, producer, one, self._declared(producer, one.queue))
        except self._errors:
            raise
        except Exception:
            log.exception("%s %s: its message can't be made", orders[0].request_id, orders[0].ref)
            return ()
        return orders

    def _declared(self, producer: Any, name: str) -> Queue:
        """A queue of ours, declared once per connection: a message to one that isn't there would be lost."""
        if name not in self._queues:
            queue = our_queue(name, self._settings.queue_type)
            queue(producer.connection.default_channel).declare()
            self._queues[name] = queue
        return self._queues[name]

    def close(self) -> None:
        """Close the connection in good order; the next message opens another."""
        with self._lock:
            producer = self._forget()
        if producer is not None:
            producer.connection.release()

    def _drop(self) -> None:
        """Leave a connection that failed, without waiting for its other end."""
        producer = self._forget()
        if producer is not None:
            producer.connection.collect()

    def _forget(self) -> Any:
        """What was not confirmed comes again."""
        producer, self._producer, self._confirms, self._sent = self._producer, None, None, []
        return producer


def _batches(orders: Iterable[Order | Pack]) -> Iterator[tuple[Order | Pack, ...]]:
    remaining = iter(orders)
    while batch := tuple(islice(remaining, CONFIRM_AT_ONCE)):
        yield batch
