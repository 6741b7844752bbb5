"""CPU time by process: it says where the work is, and is steadier than the clock on a machine with other work."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import psutil


def cpu_s(processes: Mapping[str, int]) -> dict[str, float]:
    """Seconds of CPU that each of these processes has used; a worker's pool is told apart from its main process."""
    used = {}
    for name, pid in processes.items():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            used[name] = _of(process)
            if name == "worker":
                used["pool"] = sum(_of(child) for child in process.children())
    return used


def spent(before: Mapping[str, float], after: Mapping[str, float], requests: int) -> dict[str, float]:
    """Milliseconds of CPU for each request, by process."""
    return {name: round((after[name] - before[name]) / requests * 1000, 3) for name in after if name in before}


def _of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
