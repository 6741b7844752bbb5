"""Publishes what the ledger says is due; the only sender of messages.

A message is only the call to come and fetch a run or stage. Losing one, sending it twice or late is
harmless, so nothing here retries for long: what could not be published is handed out again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from celery_collectors.errors import BrokerUnavailable
from celery_collectors.ledger import Ledger, Order

HEADER = "collectors"
CONFIRM_AT_ONCE = 500
PRIORITIES = ("low", "normal", "high")

# RabbitMQ serves the highest number first and none last; Redis serves 0 first, and knows only the
# steps 0, 3, 6 and 9 unless told otherwise. So a priority is always set, by one table.
_REDIS_PRIORITY = {"high": 0, "normal": 3, "low": 6}
_AMQP_PRIORITY = {"high": 9, "normal": 5, "low": 1}


def our_queue(name: str) -> Queue:
    """The queue for our messages: durable, and made for priorities."""
    return Queue(name, Exchange(name, type="direct"), routing_key=name, queue_arguments={"x-max-priority": 9})


def task_id(order: Order) -> str:
    """A message's task id: the run or stage and which delivery of it this is."""
    return f"{order.request_id}-{order.ref}-{order.generation}.{order.delivery}"


class Dispatcher:
    """Sends orders over a connection of its own, and tells the ledger once the broker has them.

    Args:
        app: The Celery app whose broker is used.
        ledger: Told what was published.
    """

    def __init__(self, app: Celery, ledger: Ledger) -> None:
        self._app = app
        self._ledger = ledger
        self._lock = threading.Lock()
        self._producer: Any = None
        self._declared: set[str] = set()

    def publish(self, orders: Iterable[Order]) -> None:
        """Publish orders, a batch at a time, each batch confirmed before the ledger hears of it.

        Raises:
            BrokerUnavailable: when the broker can't be reached; the orders come again by themselves.
            LedgerUnavailable: when the ledger could not be told; then too.
        """
        for batch in _batches(orders):
            with self._lock:
                self._send(batch)
            self._ledger.published(batch)

    def _send(self, batch: Sequence[Order]) -> None:
        try:
            producer = self._producer or self._connect()
            for order in batch:
                self._send_one(producer, order)
        except self._errors as error:
            self.close()
            where = self._app.connection_for_write().as_uri()
            raise BrokerUnavailable(
                f"the broker at {where} can't be reached: {str(error).rstrip('.')}. Is it running?"
            ) from error

    def _connect(self) -> Any:
        connection = self._app.connection_for_write(
            transport_options={**self._app.conf.broker_transport_options, "confirm_publish": True}
        )
        connection.ensure_connection(max_retries=1, interval_start=0.1, interval_max=0.1)
        self._producer = self._app.amqp.Producer(connection, auto_declare=False)
        self._declared.clear()
        return self._producer

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        connection = self._app.connection_for_write()
        return (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)

    def _declare(self, producer: Any, name: str) -> None:
        """Once per connection: a message to a queue that isn't there would vanish without a word."""
        if name not in self._declared:
            our_queue(name)(producer.connection.default_channel).declare()
            self._declared.add(name)

    def _send_one(self, producer: Any, order: Order) -> None:
        self._declare(producer, order.queue)
        args = (order.topic,) if order.ref.isdigit() else ()
        kwargs = {"request_id": order.request_id}
        message = self._app.amqp.as_task_v2(
            task_id(order),
            order.task,
            args,
            kwargs,
            argsrepr=repr(args),  # what Flower shows; small already, so Celery's abbreviating is not needed
            kwargsrepr=repr(kwargs),
            root_id=order.request_id,
            ignore_result=True,
        )
        named = {name: getattr(order, name) for name in ("request_id", "ref", "generation", "delivery", "stamp")}
        table = _AMQP_PRIORITY if "amqp" in producer.connection.transport.driver_type else _REDIS_PRIORITY
        producer.publish(
            message.body,
            headers={**message.headers, HEADER: named},
            exchange="",
            routing_key=order.queue,
            serializer="json",
            delivery_mode=2,
            priority=table[order.priority],
            retry=False,
            **message.properties,
        )

    def close(self) -> None:
        """Close the connection; the next publish opens another."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.connection.release()


def _batches(orders: Iterable[Order]) -> Iterator[tuple[Order, ...]]:
    remaining = iter(orders)
    while batch := tuple(islice(remaining, CONFIRM_AT_ONCE)):
        yield batch
