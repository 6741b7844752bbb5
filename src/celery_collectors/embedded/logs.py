"""Log files of the engine: kept small, and quoted when something goes wrong."""

from __future__ import annotations

from pathlib import Path

MAX_BYTES = 5_000_000
_QUOTED_BYTES = 16_384


def rotate(path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Move a log that has grown too large aside, over the last one; only while nobody writes to it."""
    if size_bytes(path) > max_bytes:
        path.replace(path.with_name(path.name + ".1"))


def size_bytes(path: Path) -> int:
    """How much is in the log; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def tail(path: Path, *, lines: int, since_bytes: int = 0) -> list[str]:
    """The last lines that were written after a certain size, empty ones left out.

    >>> tail(Path("/nowhere/worker.log"), lines=3)
    []
    """
    try:
        with path.open("rb") as log:
            log.seek(max(since_bytes, size_bytes(path) - _QUOTED_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
