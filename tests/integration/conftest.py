"""Real workers in processes of their own, on each of the three set-ups."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection, pools

from celery_collectors import Collectors, Request
from celery_collectors.ledger import RunPlan
from celery_collectors.model import Policy
from celery_collectors.plan import Plan, first_orders, messages_of
from tests.integration.apps import SESSION, on_the_broker, session
from tests.integration.setups import SetUp, make_setup, place
from tests.servers.fixtures import SETUPS
from tests.servers.redis import empty

os.environ.setdefault(SESSION, uuid.uuid4().hex[:8])  # before the app is made, and for all its workers
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

    def __init__(self, setup: SetUp, notes: Path) -> None:
        self.collectors: Collectors = engine_app.collectors
        self.default_queue: str = engine_app.app.conf.task_default_queue
        self.notes = notes
        self.setup = setup
        self.ledger_client = redis.Redis.from_url(setup.ledger_url)
        self._workers: list[subprocess.Popen[bytes]] = []

    def know(self, run_ms: float, *tasks: str) -> None:
        """Let the ledger know how long these tasks take, as if it had seen them."""
        for shard in self.collectors.client.ledger.shards:
            self.ledger_client.hset(f"{shard}:times", mapping=dict.fromkeys(tasks, run_ms))

    def env(self, **more: str) -> dict[str, str]:
        """The environment in which a process sees this engine."""
        return {
            **os.environ,
            "CELERY_BROKER_URL": self.setup.broker_url,
            "COLLECTORS_LEDGER": self.setup.ledger_url,
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
        before: Sequence[str] = (),
        **env: str,
    ) -> subprocess.Popen[bytes]:
        """Start a worker, with these options of Celery's own before its; wait until it has reported itself."""
        name = f"w{len(self._workers)}@test"
        log = (self.notes / f"{name}.log").open("wb")
        command = [sys.executable, "-m", "celery", *before, "-A", app, "worker", "-n", name]
        command += ["-P", pool, "-c", str(concurrency), "-l", "INFO", "--without-gossip", "--without-mingle", *args]
        process = subprocess.Popen(command, env=self.env(**env), cwd=ROOT, stdout=log, stderr=log)
        self._workers.append(process)
        if wait:
            until(lambda: name in {w.worker for w in self.collectors.workers()}, f"{name} reports itself")
        return process

    def many(
        self, collector: str, runs: int, *, deadline_s: float = 60, timeout_s: float = 30, on_loop: bool = False
    ) -> Request:
        """Open one request with many runs of one collector: as a chord over it would, or as coroutines in packs."""
        settings = self.collectors.settings
        task = self.collectors.registry.collectors[collector].task.name
        plans = tuple(
            RunPlan(
                name=f"{collector}[{number}]", task=task, queue=settings.queue, retries=0,
                timeout_ms=int(timeout_s * 1000), backoff_ms=100, backoff_cap_ms=1000,
            )
            for number in range(runs)
        )  # fmt: skip
        plan = Plan(topic="many", runs=plans, stages=(), policy=Policy(), on_loop=frozenset({task} if on_loop else ()))
        request_id = str(uuid.uuid4())
        client = self.collectors.client
        client.ledger.open(request_id, topic="many", runs=plans, deadline_s=deadline_s, finish_s=30)
        client.publish(list(first_orders(plan, request_id, "normal", messages_of(plan, {}, settings))))
        return self.collectors.get(request_id)

    def waiting(self) -> int:
        """How many of our messages lie in the broker and nobody has been given yet."""
        queue = self.collectors.settings.queue
        with self.connection() as connection:
            channel = connection.default_channel
            if connection.transport.driver_type == "amqp":
                return int(channel.queue_declare(queue, passive=True).message_count)
            return int(channel._size(queue))

    def connection(self) -> Connection:
        """A connection to the broker, as the app makes it."""
        return engine_app.app.connection_for_write()

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

    def empty(self) -> None:
        """Leave nothing to the next test; what others have on the servers stays."""
        mine = None if self.setup.ours else f"*{session()}*"
        empty(self.setup.ledger_url, mine)
        if not self.setup.broker_url.startswith("amqp"):
            empty(self.setup.broker_url, mine)
            return
        with self.connection() as connection:
            for name in ("engine_app", "other_app", "pack_app"):
                _delete(connection.default_channel, *on_the_broker(name))


def _delete(channel: Any, queues: list[str], exchanges: list[str]) -> None:
    for queue in queues:
        channel.queue_delete(queue)
    for exchange in exchanges:
        channel.exchange_delete(exchange)


@pytest.fixture(params=SETUPS)
def setup(request: pytest.FixtureRequest) -> SetUp:
    """Each of the set-ups; see ``place`` for what runs on which."""
    return make_setup(request.param, request)


@pytest.fixture
def engine(setup: SetUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An empty broker and ledger, and a way to start workers."""
    with engine_on(setup, tmp_path, monkeypatch) as found:
        yield found


@contextmanager
def engine_on(setup: SetUp, notes: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine on servers that a test may have of its own."""
    monkeypatch.setenv("CELERY_BROKER_URL", setup.broker_url)
    found = Engine(setup, notes)
    found.collectors.configure(ledger=setup.ledger_url)
    found.empty()
    try:
        yield found
    finally:
        found.stop()
        found.collectors.configure(ledger=None)
        found.empty()
        _forget_connections(engine_app.app)


def _forget_connections(app: Celery) -> None:
    """The app keeps those that a plain ``delay`` opened, and the next test's broker is another one."""
    pools.reset()
    app._pool = None
    app.amqp._producer_pool = None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before ``-m`` looks at the marks."""
    out = place(items)
    items[:] = [item for item in items if item not in out]
    config.hook.pytest_deselected(items=out)


@pytest.fixture(params=["prefork", pytest.param("threads", marks=pytest.mark.heavy)])
def pool(request: pytest.FixtureRequest) -> str:
    """Both pools that we support."""
    return str(request.param)
