"""Workers of the payload app, on each kind of store."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from celery_collectors import Collectors
from celery_collectors.ledger.stores import payload_store
from celery_collectors.settings import redis_url
from tests.integration.conftest import ROOT, until
from tests.ledger.stores import lying_in
from tests.servers.s3 import S3, SECRETS

from tests.integration import payload_app  # isort: skip - after the session has its word


class Payloads:
    """A broker and a ledger, a store, and the workers that a test starts."""

    def __init__(self, ledger_url: str, payloads: str | None, notes: Path) -> None:
        socket = ledger_url.removeprefix("redis+socket://").partition("?")[0]
        self.broker_url, self.ledger_url = (f"redis+socket://{socket}?virtual_host={number}" for number in (14, 15))
        self.payloads = payloads
        self.notes = notes
        self.collectors: Collectors = payload_app.collectors
        self.client = redis.Redis.from_url(redis_url(self.ledger_url))
        self.workers: list[subprocess.Popen[bytes]] = []

    def worker(self, pool: str = "prefork", concurrency: int = 2, **env: str) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it is ready."""
        name = f"p{uuid.uuid4().hex[:6]}@test"
        path = self.notes / f"{name}.log"
        command = [sys.executable, "-m", "celery", "-A", "tests.integration.payload_app", "worker", "-n", name, "-E"]
        command += ["-P", pool, "-c", str(concurrency), "-l", "INFO", "--without-gossip", "--without-mingle"]
        mine = {"PAYLOAD_APP_NOTES": str(self.notes), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        with path.open("wb") as log:
            process = subprocess.Popen(command, env={**os.environ, **mine, **env}, cwd=ROOT, stdout=log, stderr=log)
        self.workers.append(process)
        until(lambda: f"{name} ready" in path.read_text() or process.poll() is not None, f"{name} is ready")
        return process

    def stored(self) -> list[str]:
        """The names of all blobs."""
        settings = self.collectors.settings
        blobs = payload_store(self.collectors.client.ledger, settings, patience_s=1).blobs
        return lying_in(blobs, self.client, settings.prefix)

    def noted(self, word: str) -> int:
        path = self.notes / word
        return path.stat().st_size if path.exists() else 0

    def logs(self) -> str:
        """All workers' logs."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.notes.glob("*.log")))

    def stop(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait(10)


@contextmanager
def payloads_in(
    payloads: str | None, ledger_url: str, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Payloads]:
    """A world whose large values lie at a URL."""
    world = Payloads(ledger_url, payloads, notes)
    monkeypatch.setenv("CELERY_BROKER_URL", world.broker_url)
    monkeypatch.setenv("COLLECTORS_LEDGER", world.ledger_url)
    if payloads:
        monkeypatch.setenv("COLLECTORS_PAYLOADS", payloads)
    for number in (14, 15):
        redis.Redis.from_url(redis_url(world.broker_url.replace("=14", f"={number}"))).flushdb()
    world.collectors.configure(ledger=world.ledger_url)
    try:
        yield world
    finally:
        world.stop()
        world.collectors.configure(ledger=None)


@pytest.fixture(params=["redis", "file", "s3"])
def world(
    request: pytest.FixtureRequest, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Payloads]:
    """A world on each kind of store that processes can share."""
    url = {"redis": None, "file": f"file://{tmp_path}/payloads"}.get(request.param)
    if request.param == "s3":
        server: S3 = request.getfixturevalue("s3_server")
        for name, value in SECRETS.items():
            monkeypatch.setenv(name, value)
        url = server.bucket(f"b{uuid.uuid4().hex[:12]}")
    with payloads_in(url, ledger_url, tmp_path, monkeypatch) as found:
        yield found
