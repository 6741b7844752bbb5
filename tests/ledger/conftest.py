"""A ledger of their own for these tests, with time in their hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from celery_collectors.ledger.shards import connect
from tests.ledger.world import World


@pytest.fixture(scope="session")
def ledger_client(ledger_url: str) -> Iterator[Redis]:
    client = connect(ledger_url, patience_s=1)
    yield client
    client.close()


@pytest.fixture
def world(ledger_client: Redis, prefix: str) -> World:
    return World(ledger_client, prefix)
