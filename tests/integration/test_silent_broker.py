"""A RabbitMQ that takes bytes and says nothing, or is cut off: nobody waits, and nothing is taken for sent."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from celery import Celery

from celery_collectors import Collectors
from celery_collectors.dispatch import Dispatcher, Teller
from celery_collectors.errors import BrokerUnavailable
from celery_collectors.ledger import Order
from tests.servers.proxy import Proxy
from tests.servers.server import Server

pytestmark = pytest.mark.heavy


class Way:
    """A dispatcher, and the network between it and RabbitMQ."""

    def __init__(self, broker_url: str, ledger_url: str) -> None:
        parts = urlsplit(broker_url)
        self.proxy = Proxy(parts.port or 5672)
        name = f"silent-{uuid.uuid4().hex[:8]}"
        url = broker_url.replace(f":{parts.port}", f":{self.proxy.port}")
        self.collectors = Collectors(Celery(name, broker=url), ledger=ledger_url, prefix=name)
        self.client = self.collectors.client
        self.dispatcher = Dispatcher(self.collectors.app, self.client.reader, self.collectors.settings)

    def order(self, request_id: str) -> Order:
        queue = self.collectors.settings.queue
        return Order(
            request_id=request_id, ref="0", name="a", task="t.a", queue=queue, generation=1, delivery=1,
            topic="python", priority="normal",
        )  # fmt: skip

    def close(self) -> None:
        with self.collectors.app.connection_for_write() as connection:
            connection.default_channel.queue_delete(self.collectors.settings.queue)
        self.dispatcher.close()
        self.collectors.close()
        self.proxy.close()


@pytest.fixture
def way(rabbitmq_server: Server, ledger_url: str) -> Iterator[Way]:
    found = Way(rabbitmq_server.url, ledger_url)
    yield found
    found.proxy.cut()
    found.close()


def told(way: Way) -> list[str]:
    return [order.request_id for order in way.dispatcher.take_confirmed()]


def test_what_is_confirmed_is_told_once(way: Way) -> None:
    way.dispatcher.send([way.order("a"), way.order("b")])
    assert told(way) == ["a", "b"]
    assert told(way) == []


def test_what_was_lost_with_its_connection_is_never_told(way: Way) -> None:
    way.dispatcher.send([way.order("first")])
    assert told(way) == ["first"]
    way.proxy.silent.set()
    way.dispatcher.send([way.order("lost")])
    way.proxy.cut()
    way.dispatcher.send([way.order("later")])
    assert told(way) == ["later"]


def test_others_may_send_while_confirms_are_awaited_and_a_dead_connection_is_left_at_once(way: Way) -> None:
    way.dispatcher.send([way.order("first")])
    assert told(way) == ["first"]
    way.proxy.silent.set()
    way.dispatcher.send([way.order("lost")])
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="did not confirm"):
        told(way)
    assert time.monotonic() - began < 15, "it waited for the other end to say good-bye"


def test_an_interrupt_while_sending_costs_the_connection_and_nothing_else(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    way.dispatcher.send([way.order("first")])
    assert told(way) == ["first"]
    send_one = way.dispatcher._send_one

    def interrupted(producer: object, order: Order) -> bool:
        if order.request_id == "second":
            raise KeyboardInterrupt
        return send_one(producer, order)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(way.dispatcher, "_send_one", interrupted)
        way.dispatcher.send([way.order("lost"), way.order("second")])
    way.dispatcher.send([way.order("later")])
    assert told(way) == ["later"]


def test_a_queue_that_was_deleted_is_made_again(way: Way) -> None:
    way.dispatcher.send([way.order("first")])
    assert told(way) == ["first"]
    with way.collectors.app.connection_for_write() as connection:
        connection.default_channel.queue_delete(way.collectors.settings.queue)
    way.dispatcher.send([way.order("lost")])
    with pytest.raises(BrokerUnavailable, match="no queue"):
        told(way)
    way.dispatcher.send([way.order("again")])
    assert told(way) == ["again"]


def test_a_fork_leaves_its_parents_connection_alone(way: Way) -> None:
    teller = Teller(way.dispatcher, way.client.ledger)
    way.dispatcher.send([way.order("parents")])
    child = os.fork()
    if child == 0:
        teller.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert told(way) == ["parents"]
