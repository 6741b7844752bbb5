"""A set-up one or both of whose servers are a test's own, so that they can be struck; and the requests in flight."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
import redis
from kombu import Connection
from kombu.exceptions import OperationalError

from celery_collectors import Report, Request
from celery_collectors.settings import redis_url
from tests.faults.matrix import Verdict, judge
from tests.integration.conftest import Engine, engine_on, until
from tests.integration.setups import SetUp, databases, make_setup, on_valkey
from tests.servers.fixtures import a_rabbitmq, a_redis
from tests.servers.redis import valkey_of_our_own
from tests.servers.server import Server

Role = Literal["broker", "ledger", "both"]
How = Literal["stopped", "killed"]


@dataclass(frozen=True)
class Struck:
    """What a fault strikes.

    Attributes:
        engine: On servers of which some are the test's own.
        servers: Those.
        urls: Where they answer, while they do.
    """

    engine: Engine
    servers: list[Server]
    urls: list[str]

    @contextmanager
    def away(self, how: How, for_s: float = 10) -> Iterator[float]:
        """End the servers, and start them again after so long; yields when that is on the monotonic clock."""
        for server in self.servers:
            assert server.daemon is not None
            server.daemon.stop() if how == "stopped" else server.daemon.kill()
        try:
            assert not any(map(answers, self.urls))
            struck_at = time.monotonic()
            yield struck_at
            until(lambda: time.monotonic() > struck_at + for_s, "they have been away for long", for_s + 1)
        finally:
            for server in self.servers:
                server.daemon.start()


@contextmanager
def struck(request: pytest.FixtureRequest, name: str, role: Role, monkeypatch: pytest.MonkeyPatch) -> Iterator[Struck]:
    """An engine whose broker, or ledger, or both are the test's own.

    They are one server where the set-up has one for both; else two.
    """
    with ExitStack() as running:
        if name == "rabbitmq":
            setup, servers = _on_two(running, make_setup(name, request), role)
        else:
            setup, servers = _on_one(running, name, make_setup(name, request), role)
        urls = {"broker": [setup.broker_url], "ledger": [setup.ledger_url]}
        notes: Path = request.getfixturevalue("tmp_path")
        engine = running.enter_context(engine_on(setup, notes, monkeypatch))
        yield Struck(engine, servers, urls.get(role) or [*urls["broker"], *urls["ledger"]])


def _on_one(running: ExitStack, name: str, setup: SetUp, role: Role) -> tuple[SetUp, list[Server]]:
    server = running.enter_context(valkey_of_our_own() if name == "embedded" else a_redis())
    if name == "embedded":
        own = on_valkey(Path(server.url))
    else:
        broker, ledger, backend = databases(server)
        own = replace(setup, broker_url=broker, ledger_url=ledger, backend_url=backend)
    kept = {"broker": {"ledger_url": setup.ledger_url}, "ledger": {"broker_url": setup.broker_url}}
    return replace(own, ours=setup.ours, **kept.get(role, {})), [server]


def _on_two(running: ExitStack, setup: SetUp, role: Role) -> tuple[SetUp, list[Server]]:
    servers = []
    if role != "ledger":
        servers.append(running.enter_context(a_rabbitmq()))
        setup = replace(setup, broker_url=servers[-1].url)
    if role != "broker":
        servers.append(running.enter_context(a_redis()))
        setup = replace(setup, ledger_url=f"{servers[-1].url}/1")
    return setup, servers


def answers(url: str) -> bool:
    """Whether a server is there."""
    try:
        if url.startswith("amqp"):
            with Connection(url) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0)
            return True
        with redis.Redis.from_url(redis_url(url), retry=None, socket_timeout=1) as client:
            return bool(client.ping())
    except (OSError, OperationalError, redis.RedisError):
        return False


def in_flight(engine: Engine, count: int = 40, deadline_s: float = 90) -> list[Request]:
    """Ask much at once, of sources that answer soon and after a second; return when some of that has been collected."""
    ask = engine.collectors.request
    before = engine.noted("steady")
    kinds = [{"messages": "each"}, {"messages": "auto"}]
    requests = [ask(f"second-{number}", deadline=deadline_s, **kinds[number % 2]) for number in range(count)]
    until(lambda: engine.noted("steady") >= before + count // 4, "some has been collected")
    left = sum(one.state != "complete" for one in requests)
    assert left >= count // 2, f"only {left} of {count} are in flight"
    return requests


def all_answered(requests: list[Request], within_s: float = 90) -> list[Verdict]:
    """How each was answered; none of them may take longer than that from now."""
    ends_at = time.monotonic() + within_s
    return [judge(request, is_right, within_s=max(0.1, ends_at - time.monotonic())) for request in requests]


def is_right(report: Report) -> bool:
    """Whether each source has answered, and each of their items was counted."""
    return report.state == "complete" and report.result["items"] == len(report.outcomes) > 0


def recovered_s(requests: list[Request], struck_at: float) -> float:
    """From the fault to the last answer, by the ledger's clock; ``struck_at`` is by that of this process."""
    ends = [report.finished_at for report in (request.report() for request in requests) if report.finished_at]
    last = max(end.timestamp() for end in ends)
    return round(last - time.time() + time.monotonic() - struck_at, 1)
