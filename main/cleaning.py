"""Dropping the malformed rows of a data file: a new file beside it, then renamed over it.

A row is well formed if it ends with a newline, is UTF-8 without NUL, reads as strict CSV, is at most 128 KiB long, and
has as many cells as most rows of the file (at a tie, as the first of them). All that ``create_project`` writes is, but
for the number of cells. A torn row costs one line: where a quote never closes, reading goes on with the next line.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from main.csv_row import ROW_BYTES
from main.data_folder import DataFile


class Row(NamedTuple):
    """A row's bytes as they are in the file, and how many cells they hold; 0 if they are malformed."""

    raw: bytes
    cells: int


def clean(file: DataFile) -> dict[str, int]:
    """Drop the malformed rows; whoever calls holds the file's lock. A missing file has no rows."""
    try:
        descriptor = file.open(os.O_RDONLY)
    except FileNotFoundError:
        return {"kept": 0, "dropped": 0}
    with os.fdopen(descriptor, "rb") as source:  # twice through the file, a row at a time: it may be large
        cells = Counter(row.cells for row in rows(source))
        usual = _usual(cells)
        kept, total = cells[usual] if usual else 0, cells.total()
        if kept < total:
            _rewrite(file, source, usual)
    return {"kept": kept, "dropped": total - kept}


def rows(source: BinaryIO) -> Iterator[Row]:
    """Read rows from the beginning, the malformed ones a line at a time."""
    start = source.seek(0)
    while first := source.readline(ROW_BYTES + 1):
        row = _read_row(first, source)
        if row is None:
            source.seek(start + len(first))
            _skip_rest(first, source)
            row = Row(first, 0)
        start = source.tell()
        yield row


def _read_row(first: bytes, source: BinaryIO) -> Row | None:
    lines = [first]
    try:
        cells = next(csv.reader(_feed(lines, source), strict=True))
    except (csv.Error, UnicodeDecodeError):
        return None
    return Row(b"".join(lines), len(cells))


def _feed(lines: list[bytes], source: BinaryIO) -> Iterator[str]:
    """Give the reader the first line, and more while it asks: a quoted cell can have several."""
    room = ROW_BYTES
    while line := lines[-1]:
        room -= len(line)
        if room < 0 or b"\0" in line or not line.endswith(b"\n"):
            raise csv.Error("too long, with NUL, or torn")
        yield line.decode()
        lines.append(source.readline(room + 1))


def _skip_rest(line: bytes, source: BinaryIO) -> None:
    while line and not line.endswith(b"\n"):
        line = source.readline(ROW_BYTES)


def _usual(cells: Counter[int]) -> int:
    """The number of cells that most rows have; a Counter keeps the order in which it met them."""
    return max((number for number in cells if number), key=cells.__getitem__, default=0)


def _rewrite(file: DataFile, source: BinaryIO, cells: int) -> None:
    beside = file.sidecar("cleaned")
    with suppress(FileNotFoundError):  # of one who was killed here; nobody else is, for we hold the lock
        os.unlink(beside, dir_fd=file.folder)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=file.folder)
    try:
        with os.fdopen(descriptor, "wb") as target:
            target.writelines(row.raw for row in rows(source) if row.cells == cells and cells)
            _settle(source.fileno(), target)
        os.rename(beside, file.name, src_dir_fd=file.folder, dst_dir_fd=file.folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=file.folder)
        raise
    os.fsync(file.folder)


def _settle(source: int, target: BinaryIO) -> None:
    """Make the new file like the old one, and see it on the disk: a rename can reach it before the bytes do."""
    found = os.fstat(source)
    with suppress(PermissionError):  # only root may give a file away
        os.fchown(target.fileno(), found.st_uid, found.st_gid)
    os.fchmod(target.fileno(), found.st_mode & 0o7777)
    target.flush()
    os.fsync(target.fileno())
