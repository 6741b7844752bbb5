"""The broker's queue in the test's hand: messages taken out of it, and put in as they are or changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from celery_collectors import Request
from celery_collectors.dispatch import our_queue
from celery_collectors.ledger import Order
from tests.integration.conftest import Engine

KEPT = ("correlation_id", "reply_to", "priority")


class Letter(NamedTuple):
    """A message as the broker has it."""

    body: Any
    headers: dict[str, Any]
    properties: dict[str, Any]
    content_type: str
    content_encoding: str


class Post:
    """Takes and puts messages of our own queue."""

    def __init__(self, engine: Engine, connection: Any) -> None:
        settings = engine.collectors.settings
        self._queue = our_queue(settings.queue, settings.queue_type)
        self._producer = connection.Producer()
        self._bound = self._queue(connection.default_channel)
        self._bound.declare()

    def take(self) -> list[Letter]:
        """All messages that nobody has been given yet."""
        taken = []
        while (message := self._bound.get(no_ack=True)) is not None:
            encoding = message.content_encoding
            taken.append(Letter(message.body, message.headers, message.properties, message.content_type, encoding))
        return taken

    def put(self, *letters: Letter) -> None:
        """Send messages as they are."""
        for letter in letters:
            kept = {name: letter.properties[name] for name in KEPT if name in letter.properties}
            self._producer.publish(
                letter.body, headers=letter.headers, content_type=letter.content_type,
                content_encoding=letter.content_encoding, exchange=self._queue.exchange.name,
                routing_key=self._queue.name, delivery_mode=2,
                **kept,
            )  # fmt: skip


@contextmanager
def post_of(engine: Engine) -> Iterator[Post]:
    with engine.connection() as connection:
        yield Post(engine, connection)


def orders_of(engine: Engine, request: Request, names: Sequence[str]) -> list[Order]:
    """The messages of all runs and stages of a request, whether or not they are due."""
    registry, settings = engine.collectors.registry, engine.collectors.settings
    runs = [(str(number), registry.collectors[name].task.name, name) for number, name in enumerate(names)]
    stages = [(ref, stage.task.name, stage.name) for ref, stage in registry.stages.items()]
    return [
        Order(
            request_id=request.id, ref=ref, name=name, task=task, queue=settings.queue, generation=1, delivery=1,
            topic=request.report().topic, priority="normal",
        )
        for ref, task, name in (*runs, *stages)
    ]  # fmt: skip
