"""Real workers in processes of their own, on a Valkey of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from celery_collectors import Collectors, Request
from celery_collectors.ledger import RunPlan
from celery_collectors.model import Policy
from celery_collectors.plan import Plan, first_orders
from tests.integration import engine_app

ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], Any], what: str, within_s: float = 30.0) -> Any:
    """Wait for a condition; a deadline, never a pause of fixed length."""
    ends_at = time.monotonic() + within_s
    while time.monotonic() < ends_at:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s} s: {what}")


class Engine:
    """The test's broker and ledger, its notes, and the workers it starts."""

    def __init__(self, socket: Path, notes: Path) -> None:
        self.collectors: Collectors = engine_app.collectors
        self.notes = notes
        self.socket = socket
        self.broker_url = f"redis+socket://{socket}?virtual_host=0"
        self.ledger_url = f"unix://{socket}?db=1"
        self.ledger_client = redis.Redis.from_url(self.ledger_url)
        self.broker_client = redis.Redis.from_url(f"unix://{socket}?db=0")
        self._workers: list[subprocess.Popen[bytes]] = []

    def env(self, **more: str) -> dict[str, str]:
        """The environment in which a process sees this engine."""
        return {
            **os.environ,
            "CELERY_BROKER_URL": self.broker_url,
            "COLLECTORS_LEDGER": self.ledger_url,
            "ENGINE_APP_NOTES": str(self.notes),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            **more,
        }

    def worker(
        self,
        pool: str = "prefork",
        concurrency: int = 2,
        *args: str,
        wait: bool = True,
        app: str = "tests.integration.engine_app",
        **env: str,
    ) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it has reported itself."""
        name = f"w{len(self._workers)}@test"
        log = (self.notes / f"{name}.log").open("wb")
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", name]
        command += ["-P", pool, "-c", str(concurrency), "-l", "INFO", "--without-gossip", "--without-mingle", *args]
        process = subprocess.Popen(command, env=self.env(**env), cwd=ROOT, stdout=log, stderr=log)
        self._workers.append(process)
        if wait:
            until(lambda: name in {w.worker for w in self.collectors.workers()}, f"{name} reports itself")
        return process

    def many(self, collector: str, runs: int, *, deadline_s: float = 60, timeout_s: float = 30) -> Request:
        """Open one request with many runs of one collector, as a chord over it would."""
        settings = self.collectors.settings
        task = self.collectors.registry.collectors[collector].task.name
        plans = tuple(
            RunPlan(
                name=f"{collector}[{number}]", task=task, queue=settings.queue, retries=0,
                timeout_ms=int(timeout_s * 1000), backoff_ms=100, backoff_cap_ms=1000,
            )
            for number in range(runs)
        )  # fmt: skip
        plan = Plan(topic="many", runs=plans, stages=(), policy=Policy())
        request_id = str(uuid.uuid4())
        client = self.collectors._client
        client.ledger.open(request_id, topic="many", runs=plans, deadline_s=deadline_s, finish_s=30)
        client.publish(list(first_orders(plan, request_id, "normal")))
        return self.collectors.get(request_id)

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill -9 a whole worker, as a power cut would; its children go with it."""
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)

    def noted(self, word: str) -> int:
        """How often the collectors noted a word."""
        path = self.notes / word
        return path.stat().st_size if path.exists() else 0

    def write(self, word: str) -> None:
        """Open a gate."""
        (self.notes / word).touch()

    def logs(self) -> str:
        """All workers' logs."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.notes.glob("*.log")))

    def stop(self) -> None:
        """End every worker that this test started; at once, because an orderly end takes Celery 2.5 s."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait(10)


@pytest.fixture
def engine(collectors_server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An empty broker and ledger, and a way to start workers."""
    redis.Redis(unix_socket_path=str(collectors_server)).flushall()
    found = Engine(collectors_server, tmp_path)
    monkeypatch.setenv("CELERY_BROKER_URL", found.broker_url)
    found.collectors.configure(ledger=found.ledger_url)
    try:
        yield found
    finally:
        found.stop()
        found.collectors.configure(ledger=None)


@pytest.fixture(params=["prefork", pytest.param("threads", marks=pytest.mark.heavy)])
def pool(request: pytest.FixtureRequest) -> str:
    """Both pools that we support."""
    return str(request.param)
