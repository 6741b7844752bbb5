"""What is known of how long things take is known wherever a request lies."""

from __future__ import annotations

from typing import Any

from celery import Celery
from redis import Redis

from benchmarks import filling
from celery_collectors import client
from celery_collectors.client import Client
from celery_collectors.settings import Settings


def times(ledger: Redis, prefix: str, *by_shard: dict[str, Any]) -> None:
    for shard, known in enumerate(by_shard):
        ledger.hset(f"{prefix}:{{{shard}}}:times", mapping=known)


def test_of_what_shards_know_the_median_counts(
    ledger_client: Redis, ledger_url: str, prefix: str, monkeypatch: Any
) -> None:
    asking = Client(Celery("asks", broker="memory://"), ledger_url, Settings(prefix=prefix))
    assert asking.run_times() == {}
    times(ledger_client, prefix, {"quick": 1, "known once": 7}, {"quick": 2}, {"quick": 900})
    assert asking.run_times() == {}, "for a moment it is not asked again"
    monkeypatch.setattr(client, "KNOWN_FOR_S", 0.0)
    assert asking.run_times() == {"quick": 2, "known once": 7}
    asking.close()


def test_a_benchmark_s_full_ledger_holds_finished_requests(ledger_client: Redis, ledger_url: str) -> None:
    socket = ledger_url.removeprefix("redis+socket://").partition("?")[0]
    filling.main(f"unix://{socket}", 3)
    kept = list(ledger_client.scan_iter(f"{filling.PREFIX}:*:request:*"))
    assert len(kept) == 3
    ledger_client.delete(*ledger_client.scan_iter(f"{filling.PREFIX}:*"))
