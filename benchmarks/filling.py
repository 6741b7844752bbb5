"""A ledger that holds very many finished requests, made by its own verbs: ``python -m benchmarks.filling URL COUNT``.

No worker and no broker: each request is opened, its three runs and its stages are started and settled as a worker does
it, one call after another. That is ten calls a request, and leaves exactly what a worker would have left.
"""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from typing import Any

import click
from redis import Redis

from benchmarks.contender import PROCESSES, TooSlow
from celery_collectors.ledger import Grant, Ledger
from celery_collectors.ledger.reading import Reader
from celery_collectors.ledger.stores import payload_store
from tests.ledger.world import World

PREFIX = "collectors:bench"  # of the flows' app
RUNS = ("0", "1", "2")
STAGES = ("gathering", "cleanup", "process")
SAMPLE = 50
ITEMS = [1, 2, 3, 4, 5]
PATIENCE_S = 10.0


def fill(url: str, requests: int, *, ends_at: float) -> None:
    """Add so many finished requests to the ledger, by a few processes at once.

    Raises:
        TooSlow: when it is later than ``ends_at`` on the monotonic clock.
    """
    shares = [requests // PROCESSES + (number < requests % PROCESSES) for number in range(PROCESSES)]
    command = (sys.executable, "-m", "benchmarks.filling", url)
    fillers = [subprocess.Popen([*command, str(share)], stdin=subprocess.PIPE) for share in shares]
    try:
        for filler in fillers:
            if filler.wait(max(0.0, ends_at - time.monotonic())):
                raise click.ClickException("the ledger could not be filled")
    except subprocess.TimeoutExpired as error:
        raise TooSlow(f"{requests} requests were not stored when the time was over") from error
    finally:
        for filler in fillers:
            filler.kill()
            filler.communicate()


class Filler(World):
    """The tests' ledger, in real time and where the flows have theirs."""

    def __init__(self, client: Any) -> None:
        super().__init__(client, PREFIX, shards=4)
        self.ledger = Ledger(client, self.settings)
        self.store = payload_store(self.ledger, self.settings, patience_s=PATIENCE_S)
        self.reader = Reader(self.ledger, self.store)

    def finish_one(self) -> str:
        """Open a request of three runs, and let it end; return its id."""
        request_id = str(uuid.uuid4())
        self.open_as(request_id, *(f"collector_{ref}" for ref in RUNS), stages=STAGES)
        granted: Grant | None = None
        for ref in RUNS:
            reply = self.succeed(self.start(request_id, ref), ITEMS, in_place="bench")
            granted = reply.next
        for stage in STAGES:
            granted = self.succeed(granted or self.start(request_id, stage), ITEMS, in_place="bench").next
        return request_id


def main(url: str, requests: int) -> None:
    """Fill, and end; what did not end as it should is no full ledger."""
    with Redis.from_url(url) as client:
        filler = Filler(client)
        finished = [filler.finish_one() for _ in range(requests)]
        assert all(filler.state(request_id) == "complete" for request_id in finished[::SAMPLE])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
