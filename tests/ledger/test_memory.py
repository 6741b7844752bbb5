"""What a finished request takes of the server's memory."""

from __future__ import annotations

import uuid
from typing import Any

from redis import Redis

from celery_collectors.ledger import Ledger
from celery_collectors.ledger.reading import Reader
from celery_collectors.settings import Settings
from tests.ledger.snapshot import KINDS
from tests.ledger.world import World, run, stage

REQUESTS = 1000
BOUND_BYTES = 6 * 1024
NAMES: dict[str, Any] = {"queue": "collectors.news.v1"}
STAGES = ("gathering", "cleanup", "process")


class OnItsClock(World):
    """A world on the server's own clock, as everywhere but in tests: an event's time is that of its id."""

    def __init__(self, client: Redis, prefix: str) -> None:
        super().__init__(client, prefix)
        self.settings = Settings(prefix=prefix)
        self.ledger = Ledger(client, self.settings)
        self.reader = Reader(self.ledger, self.store)


def _finish(world: OnItsClock) -> str:
    """Ask for three runs and all stages as `main/` does, with small values, and see it through."""
    request_id = str(uuid.uuid4())
    runs = [run(f"collector_{n}", task=f"main.tasks_collectors.collector_{n}", **NAMES) for n in (1, 2, 3)]
    stages = [stage(ref, task=f"main.tasks_collectors.{ref}", **NAMES) for ref in STAGES]
    world.open_as(request_id, *runs, stages=stages)
    process = "worker1@collectors.example.org"
    grants = world.start_together(request_id, "0", "1", "2", process=process, token=uuid.uuid4().hex)
    reply = world.settle_together(*(world.ended(grant, items=[1, 2, 3]) for grant in grants))
    for _ in STAGES:
        (order,) = reply.orders
        grant = world.ledger.start(order, owner=process, worker=process, token=uuid.uuid4().hex)
        reply = world.settle_together(world.ended(grant, items=[1, 2, 3]))
    assert reply.complete
    return request_id


def _memory(client: Redis, key: str) -> int:
    used: Any = client.memory_usage(key, samples=0)
    return int(used or 0)


def test_a_finished_request_of_three_runs_and_three_stages_takes_at_most_6_kib(
    ledger_client: Redis, prefix: str
) -> None:
    world = OnItsClock(ledger_client, prefix)
    requests = [_finish(world) for _ in range(REQUESTS)]
    of_requests = sum(_memory(ledger_client, world.ledger.key(kind, one)) for one in requests for kind in KINDS)
    shared = sum(_memory(ledger_client, f"{shard}:index") for shard in world.ledger.shards)
    assert (of_requests + shared) / REQUESTS <= BOUND_BYTES
    assert not any(ledger_client.exists(f"{shard}:due") for shard in world.ledger.shards), "nothing of them stays due"


def test_an_event_s_time_is_that_of_the_server(ledger_client: Redis, prefix: str) -> None:
    world = OnItsClock(ledger_client, prefix)
    request_id = _finish(world)
    first = world.reader.events(request_id)[0]
    now_s: Any = ledger_client.time()[0]  # type: ignore[index]
    assert -1 <= now_s - first.at_ms / 1000 < 60
    assert first.id.startswith(f"{first.at_ms}-")
