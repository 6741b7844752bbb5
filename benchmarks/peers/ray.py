"""ray: six tasks as one graph of references; the process that asks starts the node, as ``ray.init`` does."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before it is imported

import ray

from benchmarks.flows import work

ray.init(
    num_cpus=2,
    include_dashboard=False,
    log_to_driver=False,
    _node_ip_address="127.0.0.1",
    # A short name: what is in there are sockets, whose paths may have no more than 107 characters.
    _temp_dir=str(Path(os.environ["BENCH_FOLDER"], "r")),
)

collected = ray.remote(work.collected)
cleaned = ray.remote(work.cleaned)
processed = ray.remote(work.processed)


@ray.remote
def gathered(request_id: str, *results: list[int]) -> list[int]:
    """Join what they found; references are fetched where they are arguments."""
    return work.gathered(results, request_id)


def collector_request(topic: str) -> str:
    """Ask for a topic."""
    request_id = str(uuid.uuid4())
    found = [collected.remote(name, topic, request_id) for name in work.SOURCES]
    processed.remote(cleaned.remote(gathered.remote(request_id, *found), request_id), request_id)
    return request_id
