"""The session's RabbitMQ and Redis: what a URL names, else a server of our own, started when first asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

from tests.servers import rabbitmq, redis
from tests.servers.certificates import make_certificates
from tests.servers.server import Missing, Server

SETUPS = ("embedded", "redis", "rabbitmq")
CHOICE = "COLLECTORS_TEST_SETUPS"


def chosen_setups() -> tuple[str, ...]:
    """The set-ups to test on: all, or those that ``COLLECTORS_TEST_SETUPS`` names."""
    chosen = tuple(word.strip() for word in os.environ.get(CHOICE, "").split(",") if word.strip())
    if unknown := set(chosen) - set(SETUPS):
        raise pytest.UsageError(f"{CHOICE} names {', '.join(sorted(unknown))}; there are {', '.join(SETUPS)}")
    return chosen or SETUPS


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[Server]:
    """A RabbitMQ."""
    yield from _given_or_started(rabbitmq.VARIABLE, a_rabbitmq)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """A Redis; one of our own has its append-only file on."""
    yield from _given_or_started(redis.VARIABLE, a_redis)


@contextmanager
def a_rabbitmq(*, tls: Path | None = None) -> Iterator[Server]:
    """A RabbitMQ of the test's own, also where one is given."""
    _skip_unless_chosen("rabbitmq")
    with _or_give_up(rabbitmq.rabbitmq_of_our_own(tls=tls)) as server:
        yield server


@contextmanager
def a_redis(options: Mapping[str, str] | None = None, *, tls: Path | None = None) -> Iterator[Server]:
    """A Redis of the test's own, set up as it says, also where one is given."""
    _skip_unless_chosen("redis", "rabbitmq")
    with _or_give_up(redis.redis_of_our_own(options, tls=tls)) as server:
        yield server


@contextmanager
def _or_give_up(starting: AbstractContextManager[Server]) -> Iterator[Server]:
    with ExitStack() as running:
        try:
            server = running.enter_context(starting)
        except Missing as missing:
            give_up(missing)
        yield server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a server on this machine needs for TLS, and the authority that signed it in ``ca.pem``."""
    folder = tmp_path_factory.mktemp("certificates")
    try:
        make_certificates(folder)
    except Missing as missing:
        give_up(missing)
    return folder


def give_up(missing: Missing) -> NoReturn:
    """Skip where a person sees it; fail in CI, where nobody would see that nothing was tested."""
    if os.environ.get("CI"):
        pytest.fail(f"{missing}. CI is set, so this is no reason to skip", pytrace=False)
    pytest.skip(str(missing))


def _skip_unless_chosen(*setups: str) -> None:
    if not set(setups) & set(chosen_setups()):
        pytest.skip(f"{CHOICE}={os.environ[CHOICE]} leaves this server out")


def _given_or_started(variable: str, start: Callable[[], AbstractContextManager[Server]]) -> Iterator[Server]:
    if url := os.environ.get(variable):
        _must_answer(variable, url)
        yield Server(url=url, ours=False)
        return
    with start() as server:
        yield server


def _must_answer(variable: str, url: str) -> None:
    with Connection(url) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1)
        except (OperationalError, OSError) as error:
            pytest.fail(f"{variable}: no answer at {connection.as_uri()}: {error}", pytrace=False)
