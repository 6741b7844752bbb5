"""One flow with a worker and a sender of its own, both started once and kept: bursts, and single requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from benchmarks.cpu import cpu_s, spent
from benchmarks.figures import percentile
from benchmarks.journal import Journal, Line, check, processed
from benchmarks.servers import Servers, delete_queues
from tests.servers.server import end, start

POOL = ("-P", "prefork", "-c", "2", "-E")
QUIET_S = 0.5  # after a burst: what is written after the last task's end, and what comes twice
PAUSE_S = 0.03  # between single requests, likewise
POLL_S = 0.005


class TooSlow(Exception):
    """A measurement did not end within the time that there is for all of them."""


class Flow(NamedTuple):
    """What a contender runs: a module with an app and a ``collector_request``, and what its environment says."""

    name: str
    module: str
    env: Mapping[str, str]


class Sender(NamedTuple):
    """The process that starts requests, and where it says why it can't."""

    process: subprocess.Popen[str]
    log: Path

    def send(self, way: str, count: int) -> dict[str, float]:
        """Let it start requests; return when it began and when it had sent them, in seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{way} {count}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise click.ClickException(f"a sender has ended:\n{_end_of(self.log)}")
        sent: dict[str, float] = json.loads(answer)
        return sent


class Worker(NamedTuple):
    """A Celery worker: what watches over it, and where it says what it does and which its main process is."""

    guard: subprocess.Popen[bytes]
    log: Path
    pidfile: Path

    def pid(self) -> int:
        """Its main process; 0 while it is starting."""
        return int(self.pidfile.read_text()) if self.pidfile.exists() else 0

    def check(self) -> None:
        """Fail if it has ended, with what it said last; it may still be starting."""
        if self.guard.poll() is not None:
            raise click.ClickException(f"a worker has ended:\n{_end_of(self.log)}")


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


class Contender:
    """A flow that runs, and can be measured.

    Args:
        flow: What it runs.
        worker: Its worker.
        sender: The process that starts its requests.
        journal: What its tasks have done.
        pids: By name, other processes whose CPU time counts, too.
    """

    def __init__(
        self, flow: Flow, worker: Worker, sender: Sender, *, journal: Journal, pids: Mapping[str, int]
    ) -> None:
        self.name = flow.name
        self._worker = worker
        self._sender = sender
        self._journal = journal
        self._others = {"sender": sender.process.pid, **pids}

    def burst(self, way: str, requests: int, *, ends_at: float) -> dict[str, Any]:
        """Put so many requests in at once; return the rate at which they ended, and the CPU time of each.

        Raises:
            WrongWork: when they did something else than each request's work, once.
            TooSlow: when it is later than ``ends_at`` on the monotonic clock.
        """
        before = self._cpu_s()
        sent = self._sender.send(way, requests)
        lines = self._await(requests, ends_at)
        time.sleep(QUIET_S)
        lines += self._journal.read()
        items = check(lines, requests)
        took_s = max(line.at_s for line in processed(lines)) - sent["began_at_s"]
        return {
            "requests_s": requests / took_s,
            "took_s": took_s,
            "sending_s": sent["sent_at_s"] - sent["began_at_s"],
            "items": items,
            "cpu_ms": spent(before, self._cpu_s(), requests),
        }

    def singles(self, way: str, requests: int, *, ends_at: float) -> dict[str, Any]:
        """Put in one request after another; return the time from each call to the end of its ``process``.

        Raises:
            WrongWork, TooSlow: as :meth:`burst`.
        """
        took_ms = []
        before = self._cpu_s()
        for _ in range(requests):
            began_at_s = self._sender.send(way, 1)["began_at_s"]
            lines = self._await(1, ends_at)
            time.sleep(PAUSE_S)
            check([*lines, *self._journal.read()], 1)
            took_ms += [(line.at_s - began_at_s) * 1000 for line in processed(lines)]
        return {
            "p50_ms": percentile(took_ms, 0.5),
            "p95_ms": percentile(took_ms, 0.95),
            "latencies_ms": [round(one, 2) for one in took_ms],
            "cpu_ms": spent(before, self._cpu_s(), requests),
        }

    def _cpu_s(self) -> dict[str, float]:
        return cpu_s({"worker": self._worker.pid(), **self._others})

    def _await(self, requests: int, ends_at: float) -> list[Line]:
        lines: list[Line] = []
        ended = 0
        while ended < requests:
            if time.monotonic() > ends_at:
                raise TooSlow(f"{self.name}: {ended} of {requests} requests had ended when the time was over")
            self._worker.check()
            time.sleep(POLL_S)
            new = self._journal.read()
            ended += sum(1 for _ in processed(new))
            lines += new
        return lines


@contextmanager
def running(flow: Flow, servers: Servers, *, number: int, folder: Path) -> Iterator[Contender]:
    """Start a flow's worker and sender; both are stopped when the block ends."""
    queue = f"bench.{flow.name}.{os.getpid()}"
    journal = folder / f"{flow.name}.journal"
    journal.touch()
    env = os.environ | flow.env | {
        "BENCH_QUEUE": queue,
        "CELERY_BROKER_URL": servers.broker_url,
        "CELERY_RESULT_BACKEND": servers.database(number),
    }  # fmt: skip
    with ExitStack() as stack:
        stack.callback(delete_queues, servers.broker_url, queue)
        worker = stack.enter_context(_worker(flow, env | {"BENCH_JOURNAL": str(journal)}, folder))
        sender = stack.enter_context(_sender(flow, env, folder))
        reading = Journal(journal)
        stack.callback(reading.close)
        yield Contender(flow, worker, sender, journal=reading, pids=servers.pids())


@contextmanager
def _worker(flow: Flow, env: Mapping[str, str], folder: Path) -> Iterator[Worker]:
    log, pidfile = folder / f"{flow.name}.worker.log", folder / f"{flow.name}.pid"
    command = [sys.executable, "-m", "celery", "-A", flow.module, "worker", *POOL, "-n", f"{flow.name}@bench"]
    guard = start([*command, f"--pidfile={pidfile}"], log, env)
    try:
        yield Worker(guard, log, pidfile)
    finally:
        end(guard)


@contextmanager
def _sender(flow: Flow, env: Mapping[str, str], folder: Path) -> Iterator[Sender]:
    log = folder / f"{flow.name}.sender.log"
    command = [sys.executable, "-m", "benchmarks.sender", flow.module]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield Sender(process, log)
    finally:
        process.kill()
        process.communicate()
