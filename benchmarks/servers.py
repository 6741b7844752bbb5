"""The RabbitMQ and the Redis that all contenders share: those that URLs name, else own ones on free ports."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click
import psutil
import redis
from kombu import Connection

from tests.servers import rabbitmq
from tests.servers import redis as redis_server

LAST_DATABASE = 15  # of the Redis; from there downwards, one for each contender, and a given one must have them empty
CLEAR_TIMES, CLEAR_PAUSE_S = 20, 0.1
SUFFIXES = ("", ".v1", ".DQ", ".XQ")  # Celery's; this package's; dramatiq's for what is delayed and what is dead


class Servers(NamedTuple):
    """Where the two servers are."""

    broker_url: str
    redis_url: str

    def database(self, number: int) -> str:
        """The URL of a contender's own database."""
        return urlsplit(self.redis_url)._replace(path=f"/{LAST_DATABASE - number}").geturl()

    def pids(self) -> dict[str, int]:
        """The servers' processes, of those that are on this machine."""
        ports = {"rabbitmq": urlsplit(self.broker_url).port or 5672, "redis": urlsplit(self.redis_url).port or 6379}
        listening = {at.laddr.port: at.pid for at in psutil.net_connections("tcp") if at.status == psutil.CONN_LISTEN}
        return {name: pid for name, port in ports.items() if (pid := listening.get(port))}

    def versions(self) -> dict[str, str]:
        """What the servers say they are."""
        with Connection(self.broker_url) as broker, redis.Redis.from_url(self.redis_url) as cache:
            said: Any = broker.connection.server_properties
            info: Any = cache.info("server")
            appendonly: Any = cache.config_get("append*")
        aof = f"appendonly {appendonly['appendonly']}, appendfsync {appendonly['appendfsync']}"
        return {"rabbitmq": said["version"], "redis": info["redis_version"], "redis_aof": aof}


@contextmanager
def servers(contenders: int) -> Iterator[Servers]:
    """Two servers that answer, and a database for each contender; what is written into given ones goes at the end."""
    with ExitStack() as running:
        broker_url = os.environ.get(rabbitmq.VARIABLE) or running.enter_context(rabbitmq.rabbitmq_of_our_own()).url
        redis_url = os.environ.get(redis_server.VARIABLE) or running.enter_context(redis_server.redis_of_our_own()).url
        both = Servers(broker_url, redis_url)
        for number in range(contenders):
            running.enter_context(_empty(both.database(number)))
        yield both


@contextmanager
def shared_servers() -> Iterator[dict[str, str]]:
    """One RabbitMQ and one Redis for all parts, as if they had been given; a part leaves nothing on them."""
    with servers(0) as both:
        given = {rabbitmq.VARIABLE: both.broker_url, redis_server.VARIABLE: both.redis_url}
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield both.versions()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _empty(url: str) -> Iterator[None]:
    with redis.Redis.from_url(url) as client:
        if client.dbsize():
            raise click.ClickException(f"database {urlsplit(url).path[1:]} of {redis_server.VARIABLE} is not empty")
        yield
        _clear(client)


def _clear(client: Any) -> None:
    """Empty a database; what a worker had sent before it was killed may come after that."""
    for _ in range(CLEAR_TIMES):
        client.flushdb()
        time.sleep(CLEAR_PAUSE_S)
        if not client.dbsize():
            return


def delete_queues(broker_url: str, prefix: str) -> None:
    """Delete a contender's queues from a broker that may be somebody's."""
    with Connection(broker_url) as connection:
        for suffix in SUFFIXES:
            connection.default_channel.queue_delete(prefix + suffix)
