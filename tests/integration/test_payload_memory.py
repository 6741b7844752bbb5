"""However much is collected: a worker process holds a few megabytes of it, and no message or record grows."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import psutil
import pytest
import redis

from tests.integration.payload_world import Payloads, payloads_in

MB = 2**20
SMALL_BYTES = 16 * 1024


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


def test_three_million_integers_of_each_source_leave_a_process_as_small_as_it_was(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one run would take 108 MB as a list, and 15 MB encoded; a few blobs more or less are nothing of that."""
    with payloads_in(f"file://{tmp_path}/payloads", ledger_url, tmp_path, monkeypatch) as world:
        before, after, cpu_s = through_all_stages(world, 3_000_000, 60)
        print(f"{before / MB:.0f} MB, at most {after / MB:.0f} MB; {cpu_s:.1f} s of processor time")
        assert after - before < 15 * MB


class Overheard:
    """Every command that the broker and the ledger are sent: messages, what Flower is told, calls of scripts."""

    def __init__(self, client: redis.Redis) -> None:
        self.sizes: dict[str, int] = {}
        self.count = 0
        self._monitor = client.monitor()
        self._monitor.__enter__()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(redis.RedisError, OSError, ValueError):  # until the test's server ends
            for heard in self._monitor.listen():
                name = heard["command"].partition(" ")[0].upper()
                self.sizes[name] = max(len(heard["command"]), self.sizes.get(name, 0))
                self.count += 1


@pytest.mark.promise(6)
def test_nothing_grows_with_a_hundred_megabytes_but_the_store(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No message, no event, no field of the ledger; also gathering, which joins references, moves no item."""
    with payloads_in(f"file://{tmp_path}/payloads", ledger_url, tmp_path, monkeypatch) as world:
        world.worker()
        overheard = Overheard(world.client)
        request = world.collectors.request("rows 34000", deadline=60)
        report = request.wait()
        assert (report.state, report.result) == ("complete", 102_000), world.logs()
        assert sum(outcome.bytes for outcome in report.outcomes.values()) > 100_000_000
        assert {"EVALSHA", "LPUSH", "PUBLISH"} <= overheard.sizes.keys(), "messages and events were overheard"
        overheard.sizes.pop("EVAL", None)  # a script itself, the first time
        assert max(overheard.sizes.values()) < SMALL_BYTES, overheard.sizes
        assert max(sizes_in(world.client, world.collectors.settings.prefix).values()) < SMALL_BYTES
        assert max(len(repr(event)) for event in request.events()) < SMALL_BYTES


def sizes_in(client: redis.Redis, prefix: str) -> dict[str, int]:
    """The largest field or member of each of the ledger's keys."""
    found: dict[str, int] = {}
    for key in client.scan_iter(f"{prefix}:*"):
        kind = client.type(key).decode()
        parts = {
            "hash": client.hvals,
            "zset": lambda key: client.zrange(key, 0, -1),
            "stream": lambda key: [repr(fields).encode() for _, fields in client.xrange(key)],
            "string": lambda key: [client.get(key)],
            "list": lambda key: client.lrange(key, 0, -1),
        }[kind](key)
        found[key.decode()] = max(map(len, parts))
    return found


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_thirty_million_integers_of_each_source(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery's own chord never answers at a fifth of that."""
    with payloads_in(f"file://{tmp_path}/payloads", ledger_url, tmp_path, monkeypatch) as world:
        before, after, cpu_s = through_all_stages(world, 30_000_000, 300)
        print(f"{before / MB:.0f} MB, at most {after / MB:.0f} MB; {cpu_s:.1f} s of processor time")
        assert after < 400 * MB
