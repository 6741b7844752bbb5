"""10,000 calls over several workers on RabbitMQ, killed on the way: each row is in the file once, whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.servers.server import Server

ROOT = Path(__file__).parents[2]
CALLS = 10_000
CALLERS = 4
CALL = """
from main.tasks_async import create_project
from tests.main.test_create_project_stress import row
for number in range({first}, {after}):
    create_project.delay(row(number), "stress/projects.csv")
"""


def row(number: int) -> list[Any]:
    """Rows of many lengths, and quoted ones, so that no torn or mingled one can pass for another."""
    return [number, "x" * (number % 97), f'"{number}", said twice: {number}']


def line(number: int) -> str:
    """The row as it must be in the file."""
    return f'{number},{"x" * (number % 97)},"""{number}"", said twice: {number}"'


class Fleet:
    """Workers and callers of ``main/``, with a data folder of their own."""

    def __init__(self, folder: Path, broker_url: str, backend_url: str) -> None:
        self.folder = folder
        self.file = folder / "data" / "stress" / "projects.csv"
        self.broker_url = broker_url
        self._processes: list[subprocess.Popen[bytes]] = []
        self._env = {
            **os.environ,
            "CELERY_BROKER_URL": broker_url,
            "CELERY_RESULT_BACKEND": backend_url,
            "MAIN_DATA_DIR": str(folder / "data"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        }

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker of two processes."""
        return self._start("-m", "celery", "-A", "main.celery_app", "worker", "-c", "2", "-n", f"{name}@test")

    def caller(self, first: int, after: int) -> subprocess.Popen[bytes]:
        """Start a process that calls the task for some of the rows."""
        return self._start("-c", CALL.format(first=first, after=after))

    def rows(self) -> int:
        """How many rows are in the file."""
        return self.file.read_bytes().count(b"\n") if self.file.exists() else 0

    def wait_for_rows(self, number: int) -> None:
        """Wait until there are so many rows."""
        until(lambda: self.rows() >= number, f"{number:,} rows")

    def kill_in_mid_row(self) -> bool:
        """Kill the process that holds the file's lock just now, if there is one."""
        inode = self.file.with_name(".projects.csv.lock").stat().st_ino
        for held in Path("/proc/locks").read_text().splitlines():
            _, kind, _, _, pid, file, *_ = held.split()
            if kind == "FLOCK" and file.endswith(f":{inode}"):
                os.kill(int(pid), signal.SIGKILL)
                return True
        return False

    def is_idle(self, workers: int) -> bool:
        """Whether no message waits, and no worker has one: what was delivered again could still add a row."""
        with Celery(broker=self.broker_url, set_as_current=False) as app, app.connection_for_read() as connection:
            waiting = connection.SimpleQueue("celery").qsize()
            ask = app.control.inspect(timeout=2, limit=workers)
            held = [ask.active() or {}, ask.reserved() or {}]
        return waiting == 0 and all(len(found) == workers and not any(found.values()) for found in held)

    def stop(self) -> None:
        """End what is still running."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(10)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen([sys.executable, *arguments], env=self._env, cwd=ROOT, stdout=log, stderr=log)
        self._processes.append(process)
        return process


def until(condition: Callable[[], Any], what: str, within_s: float = 120.0) -> None:
    """Wait for a condition; a deadline, never a pause of fixed length."""
    ends_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_at, f"not within {within_s} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def fleet(tmp_path: Path, rabbitmq_server: Server, redis_server: Server) -> Iterator[Fleet]:
    """An empty data folder, and a way to start workers and callers."""
    found = Fleet(tmp_path, rabbitmq_server.url, redis_server.url)
    try:
        yield found
    finally:
        found.stop()


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_create_project_stress(fleet: Fleet) -> None:
    workers = [fleet.worker(name) for name in ("one", "two", "three")]
    share = CALLS // CALLERS
    callers = [fleet.caller(number * share, (number + 1) * share) for number in range(CALLERS)]

    fleet.wait_for_rows(CALLS // 10)
    workers[0].send_signal(signal.SIGKILL)  # its processes go with it; what they held is delivered again
    for tenth in range(2, 9):
        fleet.wait_for_rows(tenth * CALLS // 10)
        until(fleet.kill_in_mid_row, "a process holds the lock")  # its worker starts another
    assert fleet.rows() < CALLS, "all were killed on the way"

    fleet.wait_for_rows(CALLS)
    until(lambda: fleet.is_idle(workers=2), "no message is left")
    assert [caller.wait(10) for caller in callers] == [0] * CALLERS
    lines = fleet.file.read_text().split("\n")
    assert lines.pop() == "", "the last row is whole"
    assert sorted(lines) == sorted(line(number) for number in range(CALLS))
