"""The tests' own servers: what is missing is said, what was there is left alone, and nothing is left running."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis
from kombu import Connection

from tests.cli.conftest import until
from tests.integration.apps import SESSION
from tests.servers.fixtures import CHOICE, a_rabbitmq, a_redis, give_up
from tests.servers.server import Missing, program

ROOT = Path(__file__).parents[2]
ONE = "tests/integration/test_engine.py::test_a_whole_life"


def test_a_missing_program_is_named_with_the_ways_to_get_it() -> None:
    with pytest.raises(Missing, match=r"no no-such-server here: run scripts/test, install it, or set SOME_URL"):
        program("no-such-server", package="it", url_variable="SOME_URL")


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_server_skips_here_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no such-server here"):
        give_up(Missing("no such-server here"))


def test_a_redis_of_our_own_leaves_nothing_behind() -> None:
    with a_redis() as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        folder = Path(client.config_get("dir")["dir"])
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(server.url, retry=None).ping()
    assert not folder.exists()


@pytest.mark.parametrize("strike", ["stop", "kill"])
def test_a_server_that_was_ended_comes_back_with_its_data_at_its_place(strike: str) -> None:
    with a_redis() as server, redis.Redis.from_url(server.url, retry=None) as client:
        assert server.daemon is not None
        client.set("kept", "this")
        getattr(server.daemon, strike)()
        assert _is_away(client)
        server.daemon.start()
        assert client.get("kept") == b"this"


HOLDS_ONE = """
import sys, time
from tests.servers.redis import redis_of_our_own
with redis_of_our_own() as server:
    print(server.url, flush=True)
    time.sleep(60)
"""


def test_a_session_that_is_killed_leaves_no_server_running(tmp_path: Path) -> None:
    with a_redis():
        pass  # there is one on this machine
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS_ONE],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # what was killed can't tidy up
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    client = redis.Redis.from_url(holder.stdout.readline().strip(), retry=None)
    assert client.ping()
    holder.kill()
    holder.communicate()
    until(lambda: _is_away(client), "the server has ended")


def _is_away(client: redis.Redis) -> bool:
    try:
        return not client.ping()
    except redis.ConnectionError:
        return True


@pytest.mark.heavy
def test_servers_that_are_given_keep_what_they_hold() -> None:
    """And the session leaves nothing of its own there."""
    with a_redis() as cache, a_rabbitmq() as broker:
        assert broker.log is not None
        assert len(_processes_with(broker.log.parent)) >= 2
        _leave_things_behind(cache.url, broker.url)
        _run_on(cache.url, broker.url, "redis")
        _run_on(cache.url, broker.url, "rabbitmq")
        with redis.Redis.from_url(cache.url) as client:
            assert sorted(client.keys("*")) == [b"celery", b"collectors:somebody"]
            assert client.llen("celery") == 1
        with Connection(broker.url) as connection:
            assert connection.default_channel.queue_declare("celery", passive=True).message_count == 1
    until(lambda: not _processes_with(broker.log.parent), "what RabbitMQ started has ended")


def _leave_things_behind(redis_url: str, amqp_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("collectors:somebody", "else's")
        client.lpush("celery", "somebody else's message")
    with Connection(amqp_url) as connection, connection.SimpleQueue("celery") as queue:
        queue.put("somebody else's message")


def _run_on(redis_url: str, amqp_url: str, setup: str) -> None:
    given = {"COLLECTORS_TEST_REDIS_URL": f"{redis_url}/0", "COLLECTORS_TEST_AMQP_URL": amqp_url, CHOICE: setup}
    env = {name: value for name, value in os.environ.items() if name != SESSION}
    command = [sys.executable, "-m", "pytest", "-q", f"{ONE}[{setup}-prefork]"]
    done = subprocess.run(command, env=env | given, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout


def _processes_with(folder: Path) -> list[psutil.Process]:
    """Those in whose environment a folder stands; RabbitMQ's port mapper would outlive it as a daemon."""
    found = psutil.process_iter(["environ"])
    return [process for process in found if str(folder) in (process.info["environ"] or {}).values()]
