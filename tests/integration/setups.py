"""The three set-ups that the engine's tests run on: which servers they are, and which tests run on which."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from celery_collectors.model import STAGES
from tests.servers.fixtures import SETUPS, chosen_setups
from tests.servers.server import Server

EMBEDDED = SETUPS[0]
*_FIRST_STAGES, LAST_STAGE = STAGES
# For tests that take long: stages differ in the ledger, not in the broker, so elsewhere one of them is enough.
EACH_STAGE = [*(pytest.param(stage, marks=pytest.mark.setups(EMBEDDED)) for stage in _FIRST_STAGES), LAST_STAGE]


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """A broker and a ledger, each by its URL alone.

    Attributes:
        name: One of ``SETUPS``.
        broker_url, ledger_url, backend_url: For our messages, for our ledger, for an app's own results.
        unreachable_url: A broker of the same kind that isn't there.
        ours: Whether everything on the servers may go.
    """

    name: str
    broker_url: str
    ledger_url: str
    backend_url: str
    unreachable_url: str = "redis://127.0.0.1:1/0"
    ours: bool = True


def make_setup(name: str, request: pytest.FixtureRequest) -> SetUp:
    """Start what a set-up needs, unless it runs in this session already."""
    if name == "embedded":
        return on_valkey(request.getfixturevalue("collectors_server"))
    redis: Server = request.getfixturevalue("redis_server")
    broker, ledger, backend = databases(redis)
    if name == "redis":
        return SetUp(name=name, broker_url=broker, ledger_url=ledger, backend_url=backend, ours=redis.ours)
    return SetUp(
        name=name,
        broker_url=request.getfixturevalue("rabbitmq_server").url,
        ledger_url=ledger,
        backend_url=backend,
        unreachable_url="amqp://127.0.0.1:1//",
        ours=redis.ours,
    )


def on_valkey(socket: Path) -> SetUp:
    return SetUp(
        name="embedded",
        broker_url=f"redis+socket://{socket}?virtual_host=0",
        ledger_url=f"unix://{socket}?db=1",
        backend_url=f"redis+socket://{socket}?virtual_host=2",
    )


def databases(redis: Server) -> tuple[str, str, str]:
    """Three databases of a server of our own; of another's only the one that was given."""
    return (f"{redis.url}/0", f"{redis.url}/1", f"{redis.url}/2") if redis.ours else (redis.url,) * 3


def place(items: list[pytest.Item]) -> list[pytest.Item]:
    """Mark as heavy what runs elsewhere than on the embedded engine, unless it is marked ``everywhere``.

    Returns:
        What is not to run: the threads pool would say the same on other servers, and so would what is marked
        ``setups`` on those that it doesn't name.
    """
    out = []
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if (name := params.get("setup")) is None:
            continue  # not one of the engine's tests
        if name != EMBEDDED and not item.get_closest_marker("everywhere"):
            item.add_marker(pytest.mark.heavy)
        if name not in _wanted(item, params.get("pool", "")):
            out.append(item)
    return out


def _wanted(item: pytest.Item, pool: str) -> set[str]:
    marker = item.get_closest_marker("setups")
    named = set(marker.args if marker else SETUPS)
    return named & set(chosen_setups()) & ({EMBEDDED} if pool == "threads" else set(SETUPS))
