"""dask.distributed: six tasks as one graph of futures; scheduler and workers are processes of their own."""

from __future__ import annotations

import os
import time
import uuid
from functools import cache

from dask.distributed import Client, LocalCluster, fire_and_forget

from benchmarks.flows import work

PORT = int(os.environ["BENCH_PORT"])


@cache
def client() -> Client:
    """This process's connection to the scheduler."""
    return Client(f"tcp://127.0.0.1:{PORT}", timeout=60)


def collector_request(topic: str) -> str:
    """Ask for a topic."""
    request_id = str(uuid.uuid4())
    submit = client().submit
    found = [submit(work.collected, name, topic, request_id, pure=False) for name in work.SOURCES]
    gathered = submit(work.gathered, found, request_id, pure=False)
    cleaned = submit(work.cleaned, gathered, request_id, pure=False)
    fire_and_forget(submit(work.processed, cleaned, request_id, pure=False))
    return request_id


if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", scheduler_port=PORT, dashboard_address=None):
        while True:
            time.sleep(3600)
