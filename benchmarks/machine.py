"""What the figures are from: versions and the machine. Figures without these mean nothing to anybody else."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

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
