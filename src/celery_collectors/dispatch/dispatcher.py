"""Sends orders over a connection of its own, and knows which of them the broker has confirmed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from celery_collectors.calls import decode_call
from celery_collectors.dispatch.confirms import Confirms
from celery_collectors.dispatch.messages import our_queue, send_call, send_ours
from celery_collectors.dispatch.results import store_result
from celery_collectors.errors import BrokerUnavailable
from celery_collectors.ledger import RESULT, Order
from celery_collectors.ledger.reading import Reader
from celery_collectors.settings import Settings

log = logging.getLogger(__name__)

CONFIRM_AT_ONCE = 500


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

    def send(self, orders: Iterable[Order]) -> None:
        """Send orders, without waiting for the broker to confirm them.

        Raises:
            BrokerUnavailable: when the broker can't be reached; the orders come again by themselves.
        """
        for batch in _batches(orders):
            done = [order for order in batch if order.ref == RESULT and self._store(order)]
            messages = [order for order in batch if order.ref != RESULT]
            with self._lock:
                self._sent += done + (self._send(messages) if messages else [])

    def take_confirmed(self) -> list[Order]:
        """Wait until the broker has all that was sent, and return what the ledger has not heard of yet.

        Raises:
            BrokerUnavailable: when the broker does not confirm; the orders come again by themselves.
        """
        with self._lock:
            try:
                if self._confirms is not None:
                    self._confirms.wait()
            except self._errors as error:
                self.close()
                raise self._unavailable(error) from error
            sent, self._sent = self._sent, []
            return sent

    def _store(self, order: Order) -> bool:
        try:
            store_result(self._app, self._reader, order)
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            log.warning("the result of %s could not be stored, which is tried again: %s", order.request_id, error)
            return False
        return True

    def _send(self, batch: Sequence[Order]) -> list[Order]:
        was_open = self._producer is not None
        try:
            return self._try_to_send(batch)
        except self._errors as error:
            self.close()
            if was_open:  # a connection may have died unseen since it was used last: sending twice is harmless
                return self._send(batch)
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> BrokerUnavailable:
        where = self._app.connection_for_write().as_uri()
        return BrokerUnavailable(f"the broker at {where} can't be reached: {str(error).rstrip('.')}. Is it running?")

    def _try_to_send(self, batch: Sequence[Order]) -> list[Order]:
        producer = self._producer or self._connect()
        sent = [order for order in batch if self._send_one(producer, order)]
        if self._confirms is not None and self._confirms.open > CONFIRM_AT_ONCE:
            self._confirms.wait()
        return sent

    def _connect(self) -> Any:
        connection = self._app.connection_for_write(
            transport_options={**self._app.conf.broker_transport_options, "confirm_publish": False}
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

    def _send_one(self, producer: Any, order: Order) -> bool:
        """Send one message; one that can't be made must not hold up the others."""
        try:
            if order.call:
                queue = self._declared(producer, order.queue) if order.queue == self._settings.queue else None
                steps = decode_call(self._app, order.call)
                send_call(self._app, producer, order, steps[order.step], queue)
            else:
                send_ours(self._app, producer, order, self._declared(producer, order.queue))
        except self._errors:
            raise
        except Exception:
            log.exception("%s %s: its message can't be made", order.request_id, order.ref)
            return False
        return True

    def _declared(self, producer: Any, name: str) -> Queue:
        """A queue of ours, declared once per connection: a message to one that isn't there would be lost."""
        if name not in self._queues:
            queue = our_queue(name, self._settings.queue_type)
            queue(producer.connection.default_channel).declare()
            self._queues[name] = queue
        return self._queues[name]

    def close(self) -> None:
        """Close the connection; the next message opens another. What was not confirmed comes again."""
        producer, self._producer, self._confirms, self._sent = self._producer, None, None, []
        if producer is not None:
            producer.connection.release()


def _batches(orders: Iterable[Order]) -> Iterator[tuple[Order, ...]]:
    remaining = iter(orders)
    while batch := tuple(islice(remaining, CONFIRM_AT_ONCE)):
        yield batch
