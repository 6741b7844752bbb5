"""Calling scripts over kept connections: what the server forgot, what it closed, what struck in between."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from redis.connection import ConnectionPool

from celery_collectors.ledger.scripts import Scripts


@pytest.fixture
def scripts(ledger_client: Redis) -> Scripts:
    return Scripts(ledger_client, "redis")


def _ask(scripts: Scripts, prefix: str, key: str) -> bytes:
    """Reserve a key for itself: the answer says whose it is."""
    return scripts.call("reserve", f"{prefix}:{{0}}", {"key": key, "request_id": key, "ttl_ms": 60_000})


def test_a_server_that_forgot_its_scripts_is_told_them_again(
    scripts: Scripts, ledger_client: Redis, prefix: str
) -> None:
    _ask(scripts, prefix, "one")
    ledger_client.script_flush()
    assert _ask(scripts, prefix, "two") == b'{"request_id":"two"}'


def test_a_connection_that_the_server_closed_is_opened_again(
    scripts: Scripts, ledger_client: Redis, prefix: str
) -> None:
    _ask(scripts, prefix, "one")
    ledger_client.client_kill_filter(_type="normal", skipme=True)
    assert _ask(scripts, prefix, "two") == b'{"request_id":"two"}'


class Struck(BaseException):
    """As a signal's handler or a thread's end raises it."""


def _striking(client: Redis) -> tuple[Redis, list[BaseException]]:
    """A client like this one whose connections raise, once a command is sent and before its reply is read."""
    pool = client.connection_pool
    strikes: list[BaseException] = []

    class StruckConnection(pool.connection_class):  # type: ignore[misc,name-defined]
        def read_response(self, *args: Any, **options: Any) -> Any:
            if strikes:
                raise strikes.pop()
            return super().read_response(*args, **options)

    return Redis(connection_pool=ConnectionPool(StruckConnection, **pool.connection_kwargs)), strikes


def test_a_reply_that_was_not_read_is_not_taken_for_the_next_one(ledger_client: Redis, prefix: str) -> None:
    client, strikes = _striking(ledger_client)
    scripts = Scripts(client, "redis")
    _ask(scripts, prefix, "one")
    strikes.append(Struck())
    with pytest.raises(Struck):
        _ask(scripts, prefix, "two")
    assert _ask(scripts, prefix, "three") == b'{"request_id":"three"}'
    client.close()
