"""What the figures are from: versions and the machine. Figures without these mean nothing to anybody else."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import psutil

LOOK_S = 1.0
BUSY_SHARE = 0.25
PACKAGES = ("celery-collectors", "celery", "kombu", "billiard", "amqp", "redis")


def machine() -> dict[str, Any]:
    """The machine, and how busy others keep it."""
    return {
        "cores": os.cpu_count(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Python and the packages that are measured."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def busy() -> list[str]:
    """What is to be said about a machine that does other work: nothing, or one line."""
    share = psutil.cpu_percent(interval=LOOK_S) / 100
    return [] if share < BUSY_SHARE else [too_busy(share)]


def too_busy(share: float) -> str:
    """The line."""
    return (
        f"this machine is too busy for figures: other work took {share:.0%} of its CPU before anything was started; "
        "ratios are less affected, and CPU time least. Run it again when nothing else runs"
    )
