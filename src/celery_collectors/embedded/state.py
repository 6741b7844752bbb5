"""What an engine says about itself, in one small file that is always whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

EngineState = Literal["stopped", "starting", "running", "stopping"]
WorkerState = Literal["off", "starting", "running", "stopping", "crash-loop"]


@dataclass(frozen=True, kw_only=True)
class EngineStatus:
    """One look at an engine.

    ``worker`` is ``"starting"`` while one is wanted and has no process yet (the server is starting, or it
    crashed and will be started again), and ``"crash-loop"`` once the supervisor has given up on it;
    ``log_tail`` then holds its last words. ``error`` says why an engine did not start.
    """

    state: EngineState = "stopped"
    app: str | None = None
    project: str | None = None
    supervisor_pid: int | None = None
    valkey_pid: int | None = None
    worker: WorkerState = "off"
    worker_pid: int | None = None
    worker_crashes: int = 0
    started_at: str | None = None
    log_tail: tuple[str, ...] = ()
    error: str | None = None


def write_status(path: Path, status: EngineStatus) -> None:
    """Replace the file at once, so that a reader sees the old one or the new one."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(asdict(status), indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def read_status(path: Path) -> EngineStatus:
    """What was last written; a stopped engine's status if there is nothing that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return EngineStatus()
    known = {field.name for field in fields(EngineStatus)}
    found["log_tail"] = tuple(found.get("log_tail", ()))
    return EngineStatus(**{name: value for name, value in found.items() if name in known})
