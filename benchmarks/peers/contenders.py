"""Who is measured beside each other, and what becomes of a request when a worker is killed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.contender import Flow, celery_flow
from benchmarks.venvs import python_of
from tests.servers.server import free_ports


class Peer(NamedTuple):
    """A contender's name, where its flow comes from, and what its acknowledgements are worth.

    Attributes:
        name: As it stands in the table.
        package: Names its module, its list of versions, and what it is a version of; empty for Celery.
        worker: What starts its worker with two processes, after the Python.
        acks: What happens to a task whose worker is killed, with these settings.
        env: More that its environment says.
    """

    name: str
    package: str
    worker: Sequence[str]
    acks: str
    env: tuple[tuple[str, str], ...] = ()

    def flow(self) -> Flow:
        """What runs; its environment is installed if need be.

        Raises:
            NotInstalled: when that can't be done.
        """
        (port,) = free_ports(1)  # for the one that has a server of its own
        env = {**dict(self.env), "BENCH_PORT": str(port)}
        return Flow(self.name, f"benchmarks.peers.{self.package}", self.worker, env, python_of(self.package))

    @property
    def distribution(self) -> str:
        """Whose version is told."""
        return {"dask": "distributed"}.get(self.package, self.package)


def ours_and_raw() -> list[Flow]:
    """The two that every other is held against."""
    return [celery_flow("raw", "benchmarks.flows.plain"), celery_flow("ours", "benchmarks.flows.declared")]


ACKS = {
    "raw": "on receipt: lost on a kill",
    "ours": "the ledger's: runs again, three times at most",
}
PEERS = (
    Peer(
        "dramatiq",
        "dramatiq",
        ("-m", "dramatiq", "benchmarks.peers.dramatiq", "-p", "2"),
        "on completion: runs again, without a cap",
    ),
    Peer(
        "taskiq list",
        "taskiq",
        ("-m", "taskiq", "worker", "benchmarks.peers.taskiq:broker", "-w", "2", "--log-level", "WARNING"),
        "none: lost on a kill",
        (("BENCH_BROKER", "list"),),
    ),
    Peer(
        "taskiq stream",
        "taskiq",
        ("-m", "taskiq", "worker", "benchmarks.peers.taskiq:broker", "-w", "2", "--log-level", "WARNING"),
        "on completion: runs again after 10 minutes",
        (("BENCH_BROKER", "stream"),),
    ),
    Peer(
        "huey",
        "huey",
        ("-m", "huey.bin.huey_consumer", "benchmarks.peers.huey.huey", "-w", "2", "-k", "process", "-q"),
        "none: lost on a kill",
    ),
    Peer(
        "saq",
        "saq",
        ("-m", "saq", "benchmarks.peers.saq.settings", "--workers", "2"),
        "swept up after its time limit: failed, as it has one try",
    ),
    Peer(
        "rq",
        "rq",
        ("-m", "benchmarks.peers.rq"),
        "swept up after its time limit: failed",
    ),
    Peer(
        "dask",
        "dask",
        ("-m", "benchmarks.peers.dask"),
        "the scheduler's: runs again; lost with scheduler or client",
    ),
    Peer(
        "ray",
        "ray",
        (),
        "the asker's: runs again, three times at most; lost with the asker",
    ),
)
