"""However much is collected: a worker process holds a few megabytes of it, and no message or record grows."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.payload_world import Payloads, payloads_in

MB = 2**20


class Peaks:
    """The most memory that each process of a worker has had, and the processor time that all have used."""

    def __init__(self, pid: int) -> None:
        self._worker = psutil.Process(pid)
        self._over = threading.Event()
        self.rss: dict[int, int] = {}
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _family(self) -> list[psutil.Process]:
        return [self._worker, *self._worker.children(recursive=True)]

    def _look(self) -> None:
        while not self._over.wait(0.02):
            for process in self._family():
                self.rss[process.pid] = max(process.memory_info().rss, self.rss.get(process.pid, 0))

    def cpu_s(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._family())

    def stop(self) -> dict[int, int]:
        self._over.set()
        self._thread.join(5)
        return self.rss


def through_all_stages(world: Payloads, count: int, deadline: float) -> tuple[int, int, float]:
    """Ask for three times so many numbers; return peaks of memory before and after, and processor seconds."""
    worker = world.worker(concurrency=2)
    world.collectors.request("numbers 10", deadline=30).wait()
    peaks = Peaks(worker.pid)
    time.sleep(0.1)
    before, cpu_s = max(peaks.rss.values()), peaks.cpu_s()
    request = world.collectors.request(f"numbers {count}", deadline=deadline, finish=deadline)
    report = request.wait()
    cpu_s = peaks.cpu_s() - cpu_s
    assert (report.state, report.result) == ("complete", 3 * count), world.logs()
    return before, max(peaks.stop().values()), cpu_s


@pytest.mark.alone
def test_two_million_integers_of_each_source_leave_a_process_as_small_as_it_was(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a list they would take 72 MB, those of one run alone; encoded and held whole, 30 MB of all runs."""
    with payloads_in(f"file://{tmp_path}/payloads", ledger_url, tmp_path, monkeypatch) as world:
        before, after, cpu_s = through_all_stages(world, 2_000_000, 60)
        print(f"{before / MB:.0f} MB, at most {after / MB:.0f} MB; {cpu_s:.1f} s of processor time")
        assert after - before < 20 * MB


@pytest.mark.heavy
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_thirty_million_integers_of_each_source(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery's own chord never answers at a fifth of that."""
    url = os.environ.get("PAYLOAD_TEST_URL", f"file://{tmp_path}/payloads")
    with payloads_in(url, ledger_url, tmp_path, monkeypatch) as world:
        before, after, cpu_s = through_all_stages(world, 30_000_000, 300)
        print(f"{before / MB:.0f} MB, at most {after / MB:.0f} MB; {cpu_s:.1f} s of processor time")
        assert after < 400 * MB
