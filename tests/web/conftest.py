"""The HTTP face as a client has it: a server on a real ledger, and a worker in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import uvicorn

from celery_collectors import Collectors
from celery_collectors.web.face import Limits
from celery_collectors.web.serve import make_server
from tests.integration.apps import SESSION
from tests.integration.conftest import until

os.environ.setdefault(SESSION, uuid.uuid4().hex[:8])
from tests.web import gallery

ROOT = Path(__file__).parents[2]
QUICK = Limits(heartbeat_s=0.2, stream_s=20)


@pytest.fixture(scope="session")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sources look for their files; the browser's tests have the same, and may share a worker."""
    folder = tmp_path_factory.getbasetemp() / "notes"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def urls(ledger_url: str) -> dict[str, str]:
    """A broker and a ledger."""
    socket = ledger_url.partition("//")[2].partition("?")[0]
    return {"broker": f"redis+socket://{socket}?virtual_host=3", "ledger": f"unix://{socket}?db=4"}


@pytest.fixture(scope="session")
def project(urls: dict[str, str], notes: Path) -> Iterator[Collectors]:
    """The facade of the project."""
    gallery.app.conf.broker_url = urls["broker"]
    gallery.NOTES = notes
    gallery.collectors.configure(ledger=urls["ledger"])
    yield gallery.collectors
    gallery.collectors.configure(ledger=None)


@pytest.fixture(scope="session")
def worker(project: Collectors, urls: dict[str, str], notes: Path) -> Iterator[None]:
    """One worker for all tests."""
    environment = {
        **os.environ,
        "CELERY_BROKER_URL": urls["broker"],
        "COLLECTORS_LEDGER": urls["ledger"],
        "GALLERY_NOTES": str(notes),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    command = [sys.executable, "-m", "celery", "-A", "tests.web.gallery", "worker", "-n", "w@web", "-P", "threads"]
    with (notes / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-c", "8", "--without-gossip", "--without-mingle", "--task-events"],
            env=environment, cwd=ROOT, stdout=log, stderr=log,
        )  # fmt: skip
    until(project.workers, f"the worker reports itself: {(notes / 'worker.log').read_text()}")
    yield
    process.kill()
    process.wait(10)


@pytest.fixture(autouse=True)
def fresh(notes: Path, urls: dict[str, str]) -> Iterator[None]:
    """Nothing of one test is left to the next: what waits at a gate goes through."""
    for name in ("gate", "mended", "asked"):
        (notes / name).unlink(missing_ok=True)
    yield
    (notes / "gate").touch()


class Served:
    """A server in a thread of this process.

    Attributes:
        url: Where it is.
    """

    def __init__(self, project: Collectors, port: int = 0, **options: Any) -> None:
        self.server: uvicorn.Server = make_server(project, port=port, **{"limits": QUICK, **options})
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        until(lambda: self.server.started or not self._thread.is_alive(), "the server has started")
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it, and wait for that."""
        self.server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def served(project: Collectors) -> Iterator[Served]:
    """A server that everybody may use."""
    server = Served(project)
    yield server
    server.stop()


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=served.url, timeout=30) as found:
        yield found


@pytest.fixture
def empty_ledger(urls: dict[str, str], project: Collectors, worker: None) -> None:
    """No request at all."""
    redis.Redis.from_url(urls["ledger"]).flushdb()
    project.close()
    until(project.workers, "the worker reports itself anew")
