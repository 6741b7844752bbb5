"""All contenders on one set-up's servers, so that one fault strikes them alike."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.faults.raw.contender import KINDS, Contender
from tests.integration.conftest import until
from tests.integration.setups import SetUp
from tests.servers.fixtures import a_rabbitmq, a_redis
from tests.servers.redis import empty
from tests.servers.server import Server


@contextmanager
def contenders_on(setup: SetUp, folder: Path) -> Iterator[list[Contender]]:
    """The contenders, without workers yet."""
    found = [Contender(kind, setup, folder / str(number)) for number, kind in enumerate(KINDS)]
    try:
        yield found
    finally:
        for one in found:
            one.stop()


@pytest.fixture
def contenders(setup: SetUp, tmp_path: Path) -> Iterator[list[Contender]]:
    """On the set-up's own servers, where nothing of them stays."""
    with contenders_on(setup, tmp_path) as found:
        yield found
    for one in found:
        one.forget()
    for url in (setup.ledger_url, setup.backend_url, setup.broker_url):
        if not url.startswith("amqp"):
            empty(url, None if setup.ours else "*faults-*")


class Breakable(NamedTuple):
    """Servers of a test's own, to be struck, and the contenders on them."""

    contenders: list[Contender]
    redis: Server
    rabbitmq: Server

    def strike(self, server: Server, away_s: float) -> float:
        """Kill a server, and start it again on its data after so many seconds; when it was killed."""
        assert server.daemon is not None
        struck_at = time.time()
        server.daemon.kill()
        until(lambda: _refuses(server), "it is away")
        time.sleep(struck_at + away_s - time.time())
        server.daemon.start()
        return struck_at


@pytest.fixture
def breakable(setup: SetUp, tmp_path: Path) -> Iterator[Breakable]:
    """On servers of the same kind as the set-up's."""
    with ExitStack() as running:
        redis = running.enter_context(a_redis())
        broker = running.enter_context(a_rabbitmq()) if setup.name == "rabbitmq" else redis
        own = SetUp(
            name=setup.name,
            broker_url=broker.url if broker is not redis else f"{redis.url}/0",
            ledger_url=f"{redis.url}/1",
            backend_url=f"{redis.url}/2",
        )
        contenders = running.enter_context(contenders_on(own, tmp_path))
        yield Breakable(contenders, redis, broker)


def _refuses(server: Server) -> bool:
    where = urlsplit(server.url)
    try:
        socket.create_connection((str(where.hostname), int(where.port or 0))).close()
    except ConnectionRefusedError:
        return True
    return False
