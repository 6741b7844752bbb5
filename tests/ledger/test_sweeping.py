"""A fleet's sweepers: one has work with it, and the others cost nothing to speak of; what keeps one from it is said."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from celery_collectors.ledger import Ledger
from celery_collectors.registry import Registry
from celery_collectors.settings import Settings
from celery_collectors.worker.process import Process, Runtime
from celery_collectors.worker.sweeper import Sweeper
from tests.unit.test_bounded import until


def sweeper(ledger_url: str, prefix: str, **changes: Any) -> Sweeper:
    app, settings = Celery("swept", broker="memory://"), Settings(**{"prefix": prefix} | changes)
    runtime = Runtime(app, Registry(), settings=lambda: settings, ledger_url=lambda: ledger_url)
    return Sweeper(Process(runtime), None)


def scripts_called(client: Redis) -> int:
    said: Any = client.info("commandstats")
    return sum(said.get(f"cmdstat_{verb}", {}).get("calls", 0) for verb in ("eval", "evalsha"))


def commands_called(client: Redis) -> int:
    said: Any = client.info("stats")
    return int(said["total_commands_processed"])


def test_the_others_of_a_fleet_cost_next_to_nothing(ledger_client: Redis, ledger_url: str, prefix: str) -> None:
    one, *others = (sweeper(ledger_url, prefix) for _ in range(4))
    one.sweep()
    for other in others:
        other.sweep()  # which also looks at how the ledger is laid out
    scripts, commands = scripts_called(ledger_client), commands_called(ledger_client)
    for other in others * 5:
        other.sweep()
    assert scripts_called(ledger_client) == scripts
    assert commands_called(ledger_client) - commands <= 5  # this look itself; nothing of theirs
    one.sweep()
    assert scripts_called(ledger_client) == scripts + Settings().shards


def test_one_s_turn_becomes_another_s_when_it_is_over(ledger_client: Redis, ledger_url: str, prefix: str) -> None:
    one, other = sweeper(ledger_url, prefix), sweeper(ledger_url, prefix)
    one.sweep()
    other.sweep()

    def is_other_s() -> bool:
        other.sweep()
        return all(
            ledger_client.get(f"{prefix}:{{{shard}}}:lock") == other._process.owner.encode()
            for shard in range(Settings().shards)
        )

    until(is_other_s)


def test_a_ledger_of_other_settings_is_said_once(
    ledger_client: Redis, ledger_url: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As where another has taken its place while the worker ran."""
    Ledger(ledger_client, Settings(prefix=prefix)).shards  # noqa: B018 - fixed
    other = sweeper(ledger_url, prefix, shards=3, sweep_s=0.01)
    sweeps = []
    other.sweep = lambda: (sweeps.append(1), Sweeper.sweep(other))
    other.start()
    until(lambda: len(sweeps) > 3)
    other.stop()
    other.join(5)
    (said,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "set COLLECTORS_SHARDS=4, or use another COLLECTORS_PREFIX" in said.getMessage()
    assert said.exc_info is None
