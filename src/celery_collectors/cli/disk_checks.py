"""Whether the embedded engine's disk has room, and what engines of other projects take of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from celery_collectors.cli.check import Check
from celery_collectors.embedded import status

ROOM_BYTES = 1_000_000_000
UNUSED_S = 30 * 24 * 3600.0
_MIB = 2**20


def disk(home: Path) -> Check:
    """How much is free; the ledger's data grow with the requests that are kept."""
    free = shutil.disk_usage(home).free
    said = f"{free / _MIB:,.0f} MiB are free; {home} has {_size_bytes(home) / _MIB:,.1f} MiB"
    if free >= ROOM_BYTES:
        return Check(name="disk", state="ok", message=said)
    return Check(
        name="disk",
        state="warn",
        message=said,
        remedy="make room, or set COLLECTORS_HOME to a folder on another disk: a full one stops the ledger",
    )


def unused(home: Path, now_s: float | None = None) -> Check | None:
    """Other projects' engines that nobody has used for a month: nothing removes their folders by itself."""
    now_s = time.time() if now_s is None else now_s
    old = [folder for folder in _engines(home.parent) if folder != home and _is_unused(folder, now_s)]
    if not old:
        return None
    size = sum(map(_size_bytes, old)) / _MIB
    many = "1 other engine" if len(old) == 1 else f"{len(old)} other engines"
    return Check(
        name="unused engines",
        state="ok",
        message=f"{many} beside it, not used for {UNUSED_S / 86400:.0f} days, {size:,.1f} MiB",
        remedy=f"if their requests need not be kept: rm -r {' '.join(map(str, old[:5]))}{' …' if old[5:] else ''}",
    )


def _engines(folder: Path) -> Iterable[Path]:
    """The folders that are engines', by what only an engine has."""
    return sorted(lock.parent for lock in folder.glob("*/engine.lock"))


def _is_unused(folder: Path, now_s: float) -> bool:
    try:
        last_s = max(path.stat().st_mtime for path in (folder, *folder.glob("*.log"), *folder.glob("status.json")))
    except OSError:
        return False
    return now_s - last_s > UNUSED_S and status(folder).state == "stopped"


def _size_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except OSError:  # a file that has just gone
            continue
    return total
