"""CPU time and memory by process: they say where the work is, and are steadier than the clock on a busy machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

MB = 1_000_000
WITH_A_POOL = ("worker", "sender")  # some contenders' workers are their sender's children


def cpu_s(processes: Mapping[str, int]) -> dict[str, float]:
    """Seconds of CPU that each of these processes has used; a worker's pool is told apart from its main process."""
    used: dict[str, float] = {}
    for name, pid in processes.items():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            used[name] = _of(process)
            if name in WITH_A_POOL and (children := process.children(recursive=True)):
                used["pool"] = used.get("pool", 0) + sum(_of(child) for child in children)
    return used


def peak_mb(pid: int) -> float:
    """The most memory that a process has held so far, in MB; what it holds now, where the system doesn't tell."""
    with suppress(OSError):
        if found := re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE):
            return int(found[1]) * 1024 / MB
    return float(psutil.Process(pid).memory_info().rss) / MB


def spent(before: Mapping[str, float], after: Mapping[str, float], requests: int) -> dict[str, float]:
    """Milliseconds of CPU for each request, by process; one that was not there before has begun since."""
    return {name: round((used - before.get(name, 0.0)) / requests * 1000, 3) for name, used in after.items()}


def _of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
