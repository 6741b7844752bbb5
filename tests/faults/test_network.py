"""A worker that is cut off from broker, ledger or both for a while, and the client is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.faults.matrix import Matrix
from tests.faults.servers import all_answered, in_flight, recovered_s
from tests.integration.conftest import Engine, until
from tests.servers.proxy import Proxy

pytestmark = [pytest.mark.timeout(240), pytest.mark.setups("redis", "rabbitmq")]  # a Unix socket has no network
VARIABLES = {"broker": "CELERY_BROKER_URL", "ledger": "COLLECTORS_LEDGER"}


class Ways:
    """The networks between a worker and its servers."""

    def __init__(self, engine: Engine) -> None:
        self.env, self.proxies = {}, {}
        for name, url in {"broker": engine.setup.broker_url, "ledger": engine.setup.ledger_url}.items():
            port = urlsplit(url).port
            proxy = self.proxies[name] = Proxy(port)
            self.env[VARIABLES[name]] = url.replace(f":{port}", f":{proxy.port}")

    @contextmanager
    def off(self, *names: str, silently: bool, for_s: float) -> Iterator[float]:
        """Cut the worker off from these for so long; yields when that was on the monotonic clock.

        What was sent silently is lost, so its connections can't go on after that.
        """
        struck_at = time.monotonic()
        for name in names:
            self.proxies[name].silent.set() if silently else self.proxies[name].refuse()
        yield struck_at
        until(lambda: time.monotonic() > struck_at + for_s, "it has been cut off for long", for_s + 1)
        for name in names:
            self.proxies[name].cut()

    def close(self) -> None:
        for proxy in self.proxies.values():
            proxy.close()


@pytest.fixture
def ways(engine: Engine) -> Iterator[Ways]:
    found = Ways(engine)
    yield found
    found.close()


CASES = [
    pytest.param(
        names,
        silently,
        for_s,
        id=f"{'-'.join(names)}-{'silent' if silently else 'closed'}-{for_s}",
        marks=pytest.mark.heavy if (names, silently, for_s) == (("broker", "ledger"), False, 5) else pytest.mark.matrix,
    )
    for names in (("broker",), ("ledger",), ("broker", "ledger"))
    for silently in (False, True)
    for for_s in (5, 20)
]


@pytest.mark.parametrize(("names", "silently", "for_s"), CASES)
def test_a_worker_is_cut_off(
    engine: Engine, ways: Ways, matrix: Matrix, names: tuple[str, ...], silently: bool, for_s: int
) -> None:
    """Another worker is there, which may take over what that one can't go on with."""
    engine.worker("prefork", 2, **ways.env)
    engine.worker("prefork", 2)
    requests = in_flight(engine, 40)
    with ways.off(*names, silently=silently, for_s=for_s) as struck_at:
        requests += [engine.collectors.request(f"second-{number}", deadline=90) for number in range(10)]
    assert all(ways.proxies[name].stopped for name in names), "it wanted to be heard"
    how = "hears nothing from" if silently else "is refused by"
    fault = f"one of two workers {how} {' and '.join(names)} for {for_s} s"
    verdicts = all_answered(requests, 100)
    lost = [o for one in requests for o in one.report().outcomes.values() if o.state == "lost"]
    assert not lost
    matrix.check(fault, verdicts, recovery_s=recovered_s(requests, struck_at))
