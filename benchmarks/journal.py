"""What the tasks did, and when: a line a task, appended to one file by every process of a contender.

The tasks say it in their log anyway. Writing it down costs a few microseconds, the same for every flow, and touches
neither broker nor Redis.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# What main's tasks log, and where in its arguments the number of items is.
COUNTED = {
    "[%s] %s found %d items about %r": ("found", 2),
    "[%s] gathered %d items": ("gathered", 1),
    "[%s] cleaned up: %d of %d items dropped": ("cleaned", 2),
    "[%s] processed %d items": ("processed", 1),
}
FAN_OUT = 3


class Line(NamedTuple):
    """A task has done its part of a request."""

    at_s: float
    kind: str
    request_id: str
    items: int


class WrongWork(Exception):
    """A flow did something else than each request's work, once; its figures would mean nothing."""


class JournalHandler(logging.Handler):
    """Writes a line for each log record that counts items."""

    def __init__(self, path: str) -> None:
        super().__init__()
        # Opened before the pool forks; appending keeps lines whole.
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line, if it is one of those."""
        kind, position = COUNTED.get(str(record.msg), ("", 0))
        if kind:
            said: Any = record.args
            os.write(self._file, f"{time.time():.6f} {kind} {said[0]} {said[position]}\n".encode())


def write_from(log: logging.Logger, path: str | None) -> None:
    """Let a flow's log be its journal; without a path (in a sender, which runs none of it) nothing is written."""
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(JournalHandler(path) if path else logging.NullHandler())


class Journal:
    """Reads a journal from where it was read last."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""

    def read(self) -> list[Line]:
        """Return the lines that are new and whole."""
        *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [_line(text.decode()) for text in whole]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(text: str) -> Line:
    at_s, kind, request_id, items = text.split(" ")
    return Line(float(at_s), kind, request_id, int(items))


def check(lines: Sequence[Line], requests: int) -> int:
    """Check that so many requests had every part of their work done once, with the same items; return the items.

    Raises:
        WrongWork: naming a request and what is wrong with it.
    """
    by_request: dict[str, list[Line]] = {}
    for line in lines:
        by_request.setdefault(line.request_id, []).append(line)
    if len(by_request) != requests:
        raise WrongWork(f"{len(by_request)} requests were worked on, and {requests} were asked")
    return sum(_checked(request_id, part) for request_id, part in by_request.items())


def _checked(request_id: str, lines: Iterable[Line]) -> int:
    items: dict[str, list[int]] = {kind: [] for kind, _ in COUNTED.values()}
    for line in lines:
        items[line.kind].append(line.items)
    done = {kind: len(counts) for kind, counts in items.items()}
    if done != {"found": FAN_OUT, "gathered": 1, "cleaned": 1, "processed": 1}:
        raise WrongWork(f"request {request_id}: {done}, where {FAN_OUT} collectors and each stage once are right")
    totals = {sum(counts) for counts in items.values()}
    if len(totals) > 1:
        raise WrongWork(f"request {request_id}: {items}, where the items should add up")
    return totals.pop()


def processed(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines that end a request."""
    return (line for line in lines if line.kind == "processed")
