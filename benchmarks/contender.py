"""One flow with a worker and a sender of its own, both started once and kept: bursts, and single requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from select import select
from typing import Any, NamedTuple

import click
import psutil

from benchmarks.cpu import cpu_s, peak_mb, spent
from benchmarks.figures import percentile
from benchmarks.journal import Journal, Line, check, processed
from benchmarks.servers import Servers, delete_queues
from tests.servers.server import end, start

PROCESSES = 2  # of every contender's worker
QUIET_S = 0.5  # after a burst: what is written after the last task's end, and what comes twice
PAUSE_S = 0.03  # between single requests, likewise
POLL_S = 0.005
LOOK_S = 1.0


class TooSlow(Exception):
    """A measurement did not end within the time that there is for all of them."""


class Flow(NamedTuple):
    """What a contender runs.

    Attributes:
        name: The contender's.
        module: Has what :mod:`benchmarks.sender` calls.
        worker: What starts its worker, after the Python; nothing if its sender starts all it needs.
        env: What its environment says.
        python: In whose environment it runs.
    """

    name: str
    module: str
    worker: Sequence[str]
    env: Mapping[str, str] = {}
    python: str = sys.executable


def celery_flow(name: str, module: str, env: Mapping[str, str] | None = None, *, options: Sequence[str] = ()) -> Flow:
    """A flow on a Celery worker with two processes."""
    pool = ("-P", "prefork", "-c", str(PROCESSES), "-n", f"{name}@bench")
    return Flow(name, module, ("-m", "celery", "-A", module, "worker", *pool, *options), env or {})


class Sender(NamedTuple):
    """The process that starts requests, and where it says why it can't."""

    process: subprocess.Popen[str]
    log: Path

    def send(
        self, way: str, count: int, *, ends_at: float, meanwhile: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """Let it start requests; return when it began and when it was done, in seconds, and what it found.

        Args:
            way, count: What it is told; see :mod:`benchmarks.sender`.
            ends_at: When to give up.
            meanwhile: Called every second until it answers; may raise.

        Raises:
            TooSlow: when it is later than ``ends_at`` on the monotonic clock.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended: there is no answer either, and what it said last tells why
            self.process.stdin.write(f"{way} {count}\n")
            self.process.stdin.flush()
        while not select([self.process.stdout], [], [], LOOK_S)[0]:
            meanwhile()
            if time.monotonic() > ends_at:
                raise TooSlow(f"a sender was still at '{way} {count}' when the time was over")
        answer = self.process.stdout.readline()
        if not answer:
            raise click.ClickException(f"a sender has ended:\n{_end_of(self.log)}")
        sent: dict[str, Any] = json.loads(answer)
        return sent


class Worker(NamedTuple):
    """A worker: what watches over it, and where it says what it does."""

    guard: subprocess.Popen[bytes]
    log: Path

    def pid(self) -> int:
        """Its main process; 0 while it is starting."""
        with suppress(psutil.Error):
            beside = psutil.Process(self.guard.pid).children()
            return next((child.pid for child in beside if child.name() != "bash"), 0)
        return 0

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
        worker: Its worker, if it has one.
        sender: The process that starts its requests.
        journal: What its tasks have done.
        pids: By name, other processes whose CPU time counts, too.
    """

    def __init__(
        self, flow: Flow, worker: Worker | None, sender: Sender, *, journal: Journal, pids: Mapping[str, int]
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
        sent = self._sender.send(way, requests, ends_at=ends_at)
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
            began_at_s = self._sender.send(way, 1, ends_at=ends_at)["began_at_s"]
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

    def ask(self, way: str, count: int, *, ends_at: float) -> dict[str, Any]:
        """Let the sender ask, await the answer and check it; return what it found, with the time and the CPU time.

        Raises:
            TooSlow: as :meth:`burst`.
        """
        before = self._cpu_s()
        answer = self._sender.send(way, count, ends_at=ends_at, meanwhile=self._check_worker)
        took_s = answer.pop("sent_at_s") - answer.pop("began_at_s")
        return {**answer, "took_s": took_s, "cpu_s": sum(spent(before, self._cpu_s(), 1000).values())}

    def peak_mb(self) -> float:
        """The most memory that one process of the worker has held so far, in MB."""
        assert self._worker is not None
        main = psutil.Process(self._worker.pid())
        return max(peak_mb(process.pid) for process in (main, *main.children(recursive=True)))

    def _check_worker(self) -> None:
        if self._worker:
            self._worker.check()

    def _cpu_s(self) -> dict[str, float]:
        return cpu_s(self._others | ({"worker": self._worker.pid()} if self._worker else {}))

    def _await(self, requests: int, ends_at: float) -> list[Line]:
        lines: list[Line] = []
        ended = 0
        while ended < requests:
            if time.monotonic() > ends_at:
                raise TooSlow(f"{self.name}: {ended} of {requests} requests had ended when the time was over")
            self._check_worker()
            time.sleep(POLL_S)
            new = self._journal.read()
            ended += sum(1 for _ in processed(new))
            lines += new
        return lines


@contextmanager
def running(flow: Flow, servers: Servers, *, number: int, folder: Path) -> Iterator[Contender]:
    """Start a flow's worker and sender; both are stopped when the block ends."""
    env = environment(flow, servers, number=number, folder=folder)
    journal = folder / f"{flow.name}.journal"
    journal.touch()
    working = env | {"BENCH_JOURNAL": str(journal)}
    with ExitStack() as stack:
        stack.callback(delete_queues, servers.broker_url, env["BENCH_QUEUE"])
        worker = stack.enter_context(worker_of(flow, working, folder)) if flow.worker else None
        sender = stack.enter_context(sender_of(flow, env if flow.worker else working, folder))
        reading = Journal(journal)
        stack.callback(reading.close)
        yield Contender(flow, worker, sender, journal=reading, pids=servers.pids())


def environment(flow: Flow, servers: Servers, *, number: int, folder: Path) -> dict[str, str]:
    """What a flow's processes are told: where everything is, and what is theirs alone."""
    return os.environ | flow.env | {
        "BENCH_QUEUE": f"bench.{flow.name}.{os.getpid()}",
        "BENCH_FOLDER": str(folder),
        "CELERY_BROKER_URL": servers.broker_url,
        "CELERY_RESULT_BACKEND": servers.database(number),
    }  # fmt: skip


@contextmanager
def worker_of(flow: Flow, env: Mapping[str, str], folder: Path) -> Iterator[Worker]:
    """Start a flow's worker; it is stopped when the block ends."""
    log = folder / f"{flow.name}.worker.log"
    guard = start([flow.python, *flow.worker], log, env)
    try:
        yield Worker(guard, log)
    finally:
        end(guard)


@contextmanager
def sender_of(flow: Flow, env: Mapping[str, str], folder: Path) -> Iterator[Sender]:
    """Start what asks for a flow; it is stopped when the block ends."""
    log = folder / f"{flow.name}.sender.log"
    command = [flow.python, "-m", "benchmarks.sender", flow.module, str(os.getpid())]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield Sender(process, log)
    finally:
        for one in (*psutil.Process(process.pid).children(recursive=True), process):
            with suppress(psutil.Error):
                one.kill()
        process.communicate()
