"""Several messages in one write to RabbitMQ's socket."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from kombu import Connection, Exchange, Producer, Queue

from celery_collectors.dispatch.confirms import Confirms
from tests.servers.server import Server


class Channel(NamedTuple):
    producer: Any
    confirms: Confirms
    queue: Any
    writes: list[bytes]

    def publish(self, body: str) -> None:
        self.producer.publish(body, routing_key=self.queue.name, mandatory=True)

    def take(self) -> list[str]:
        taken = []
        while (message := self.queue.get(no_ack=True)) is not None:
            taken.append(message.payload)
        return taken


class Renamed:
    """A transport that has no ``_write``, as py-amqp's might be some day."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        if name == "_write":
            raise AttributeError(name)
        return getattr(self._transport, name)


@pytest.fixture
def channel(rabbitmq_server: Server) -> Iterator[Channel]:
    with Connection(rabbitmq_server.url) as connection:
        producer = Producer(connection.channel(), auto_declare=False)
        confirms = Confirms(producer.channel)
        queue = Queue(f"one-write-{uuid.uuid4()}", Exchange(""), auto_delete=True)(producer.channel)
        queue.declare()
        transport, writes = connection.connection.transport, []
        write = transport._write

        def counted(frames: Any) -> None:
            writes.append(bytes(frames))
            write(frames)

        transport._write = counted
        yield Channel(producer, confirms, queue, writes)
        queue.delete()


def _wait_for_confirms(confirms: Confirms) -> None:
    ends_at = time.monotonic() + 10
    while not confirms.has_all(confirms.sent, ends_at):
        pass


def test_messages_together_are_one_write_and_arrive_in_order(channel: Channel) -> None:
    with channel.confirms.together():
        for number in range(3):
            channel.publish(f"{number}" + "x" * 200_000 * (number == 1))  # one is larger than a frame
        assert channel.writes == []
    assert len(channel.writes) == 1
    _wait_for_confirms(channel.confirms)
    assert [body[0] for body in channel.take()] == ["0", "1", "2"]


def test_what_needs_an_answer_does_not_wait_for_the_end(channel: Channel) -> None:
    with channel.confirms.together():
        channel.publish("before")
        channel.queue.queue_declare(passive=True)  # would wait for ever
        channel.publish("after")
    _wait_for_confirms(channel.confirms)
    assert channel.take() == ["before", "after"]


def test_nothing_is_written_of_what_ended_with_an_error(channel: Channel) -> None:
    with pytest.raises(KeyError), channel.confirms.together():
        channel.publish("half")
        raise KeyError
    assert channel.writes == []


def test_with_a_py_amqp_that_writes_otherwise_each_message_is_a_write(channel: Channel) -> None:
    connection = channel.producer.channel.connection
    connection.transport = Renamed(connection.transport)
    with channel.confirms.together():
        channel.publish("0")
        channel.publish("1")
        assert len(channel.writes) == 2
    assert "_write" not in vars(connection.transport)
    _wait_for_confirms(channel.confirms)
    assert channel.take() == ["0", "1"]


def test_a_message_that_can_not_be_routed_is_refused(channel: Channel) -> None:
    with channel.confirms.together():
        channel.publish("arrives")
        channel.producer.publish("lost", routing_key="nowhere", mandatory=True)
    with pytest.raises(Exception, match="nowhere"):
        _wait_for_confirms(channel.confirms)
