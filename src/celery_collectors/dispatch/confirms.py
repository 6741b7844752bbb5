"""Publisher confirms of an AMQP channel, awaited once for many messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from amqp.spec import Basic
from kombu.exceptions import OperationalError

from celery_collectors.dispatch.one_write import one_write

WAIT_S = 10.0
WRITE_S = 10.0
MOMENT_S = 0.05


class Confirms:
    """Counts what is published on a channel, and what the broker says it has.

    Waiting for each message alone takes a round trip and, for durable queues, a disk write; RabbitMQ answers for many
    at once (https://www.rabbitmq.com/docs/confirms).

    Args:
        channel: A py-amqp channel on which nothing was published yet.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.sent = 0
        self._open: set[int] = set()
        self._refused: list[str] = []
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        channel.basic_publish = self._counted

    @property
    def open(self) -> int:
        """How many messages the broker has not answered yet."""
        return len(self._open)

    def has_all(self, last: int, ends_at: float) -> bool:
        """Whether the broker has every message up to this one; listens to it for a moment.

        Args:
            last: A message's number: what :attr:`sent` was.
            ends_at: Until when, on the monotonic clock, it may take.

        Raises:
            OperationalError: when it refused something, or did not answer in time.
        """
        if self._open and min(self._open) <= last:
            if time.monotonic() >= ends_at:
                raise OperationalError(f"it did not confirm {len(self._open)} messages within {WAIT_S:.0f} s")
            with suppress(TimeoutError):
                self._channel.connection.drain_events(timeout=MOMENT_S)
        if self._refused:
            raise OperationalError(f"it refused {len(self._refused)} messages: {self._refused[0]}")
        return not self._open or min(self._open) > last

    @contextmanager
    def together(self) -> Iterator[None]:
        """Publish what follows in one write; a connection that has died unseen shows it before."""
        with suppress(TimeoutError):
            self._channel.connection.drain_events(timeout=0)
        with one_write(self._channel.connection.transport, WRITE_S):
            yield

    def _counted(
        self,
        message: Any,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        **_timeouts: Any,
    ) -> None:
        """What the channel's own ``basic_publish`` does, but that it listens to the broker before every message."""
        arguments = (0, exchange, routing_key, mandatory, immediate)
        self._channel.send_method(Basic.Publish, "Bssbb", arguments, message)
        self.sent += 1
        self._open.add(self.sent)

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._open = {number for number in self._open if number > tag}
        else:
            self._open.discard(tag)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused.append("its queue could not take it")
        self._on_ack(tag, multiple)

    def _on_return(self, error: Exception, _exchange: str, routing_key: str, _message: Any) -> None:
        self._refused.append(f"there is no queue {routing_key!r} ({error})")
