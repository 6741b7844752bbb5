"""A worker of the chord app for all tests of a module, and what they ask of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import pools

from celery_collectors import Collectors
from celery_collectors.settings import redis_url
from tests.integration.apps import on_the_broker
from tests.integration.conftest import ROOT, Engine, _delete, until

from tests.integration import chord_app  # isort: skip - after the session has its word


class Chords:
    """Servers by their URLs, the notes of the app's tasks, and workers."""

    def __init__(self, broker_url: str, ledger_url: str, backend_url: str, notes: Path) -> None:
        self.urls = {
            "CELERY_BROKER_URL": broker_url,
            "COLLECTORS_LEDGER": ledger_url,
            "CELERY_RESULT_BACKEND": backend_url,
        }
        self.notes = notes
        self.app = chord_app.app
        self.collectors: Collectors = chord_app.collectors
        self.workers: list[subprocess.Popen[bytes]] = []
        self.pool = "prefork"

    def env(self, **more: str) -> dict[str, str]:
        """The environment in which a process sees this world."""
        path = os.pathsep.join([str(ROOT), *sys.path])
        mine = {"CHORD_APP_NOTES": str(self.notes), "PYTHONPATH": path, "COLLECTORS_SWEEP_S": "0.1"}
        return {**os.environ, **self.urls, **mine, **more}

    def worker(self, pool: str = "prefork", concurrency: int = 3, *args: str, **env: str) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it is ready."""
        name = f"c{uuid.uuid4().hex[:6]}@test"
        path = self.notes / f"{name}.log"
        command = [sys.executable, "-m", "celery", "-A", "tests.integration.chord_app", "worker", "-n", name]
        command += ["-P", pool, "-c", str(concurrency), "-l", "INFO", "--without-gossip", "--without-mingle", *args]
        with path.open("wb") as log:
            process = subprocess.Popen(command, env=self.env(**env), cwd=ROOT, stdout=log, stderr=log)
        self.workers.append(process)
        until(lambda: f"{name} ready" in path.read_text() or process.poll() is not None, f"{name} is ready")
        return process

    def stop(self) -> None:
        """End every worker; at once, because an orderly end takes Celery 2.5 s."""
        while self.workers:
            worker = self.workers.pop()
            worker.kill()
            worker.wait(10)

    def word(self) -> str:
        """A word that no other test notes."""
        return uuid.uuid4().hex[:12]

    def write(self, word: str) -> None:
        """Open a gate."""
        (self.notes / word).touch()

    def noted(self, word: str) -> list[Any]:
        """What was noted under a word, in order; a single thing as itself."""
        path = self.notes / word
        whole = path.read_text().rpartition("\n")[0] if path.exists() else ""  # the last one may be half written
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line[0] if len(line) == 1 else line for line in lines]

    def logs(self) -> str:
        """All workers' logs."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.notes.glob("*.log")))

    def python(self, program: str) -> str:
        """What a program says that runs in a process of its own."""
        found = subprocess.run(
            [sys.executable, "-c", program], env=self.env(), cwd=ROOT, capture_output=True, check=False, timeout=60
        )
        assert found.returncode == 0, found.stderr.decode()
        return found.stdout.decode().strip()

    def __enter__(self) -> Chords:
        self._patch = pytest.MonkeyPatch()
        for name, value in self.urls.items():
            self._patch.setenv(name, value)
        self.collectors.configure(ledger=self.urls["COLLECTORS_LEDGER"])
        self._forget_connections()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.collectors.configure(ledger=None)
        self._forget_connections()
        self._patch.undo()

    def _forget_connections(self) -> None:
        pools.reset()
        self.app._pool = None
        self.app.amqp._producer_pool = None
        self.app._backend_cache = None
        self.app._local.__dict__.clear()


def _on(ledger_url: str) -> tuple[str, str, str]:
    """Databases of the session's Valkey that nobody else uses, for a broker, a ledger and a backend."""
    socket = ledger_url.removeprefix("redis+socket://").partition("?")[0]
    return tuple(f"redis+socket://{socket}?virtual_host={number}" for number in (11, 12, 13))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def no_worker(ledger_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chords]:
    """A world without a worker."""
    import redis

    for url in _on(ledger_url):
        with redis.Redis.from_url(redis_url(url)) as client:
            client.flushdb()
    with Chords(*_on(ledger_url), tmp_path_factory.mktemp("chords")) as world:
        yield world


@pytest.fixture(scope="module")
def chords(no_worker: Chords) -> Chords:
    """A world with a prefork worker, shared by a module's tests."""
    no_worker.worker()
    return no_worker


@pytest.fixture
def own(engine: Engine) -> Iterator[Chords]:
    """A world of one test's own on each of the set-ups, which starts its workers itself."""
    setup = engine.setup
    with Chords(setup.broker_url, setup.ledger_url, setup.backend_url, engine.notes) as world:
        yield world
        world.stop()
        if setup.broker_url.startswith("amqp"):
            with world.app.connection_for_write() as connection:
                queues, exchanges = on_the_broker("chord_app")
                _delete(connection.default_channel, [*queues, f"{queues[1]}.special"], exchanges)


@pytest.fixture
def alone(no_worker: Chords) -> Iterator[Chords]:
    """A world in which a test starts workers of its own."""
    no_worker.stop()
    yield no_worker
    no_worker.stop()
