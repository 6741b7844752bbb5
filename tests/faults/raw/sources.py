"""What the contenders have in common: three sources, of which the third misbehaves as it is told, and the notes.

Every contender runs these same functions; what differs is only who gathers.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NAMES = ("first", "second", "third")
SLOW_S = 0.5

NOTES = Path(os.environ.get("FAULTS_NOTES", "/nonexistent"))


def note(word: str, *what: Any) -> None:
    """Append a line to the contender's notes, with the time."""
    with (NOTES / word).open("ab", buffering=0) as notes:
        notes.write(json.dumps([time.time(), *what]).encode() + b"\n")


def noted(notes: Path, word: str) -> list[list[Any]]:
    """What stands there; the time is first in each line."""
    path = notes / word
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read(name: str, request_id: str, how: str) -> list[str]:
    """One source's items about a request."""
    if how == "slow":
        time.sleep(SLOW_S)
    if name == NAMES[-1]:
        _misbehave(request_id, how)
    note("collected", request_id, name)
    return [f"{name} {request_id}"]


def _misbehave(request_id: str, how: str) -> None:
    note(how, request_id)
    first_time = sum(known == request_id for _, known in noted(NOTES, how)) == 1
    if how == "raises":
        raise ValueError("no such feed")
    if how == "hangs":
        time.sleep(3600)
    if how == "dies" and first_time:
        time.sleep(SLOW_S)
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "gated" and first_time:
        time.sleep(3600)  # until the whole worker is killed


def joined(results: Iterable[Iterable[Any]]) -> list[Any]:
    """The gathering, of every contender."""
    return [item for result in results for item in result]


def answer(request_id: str, items: Iterable[Any]) -> dict[str, Any]:
    """The last stage, of every contender: its notes are what is judged."""
    found = sorted(items)
    note("answers", request_id, found)
    return {"items": found}
