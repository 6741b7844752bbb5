"""A row as one line of CSV: quoted where needed, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import re
from io import StringIO

# Python's csv module reads no longer cell, so that a longer row could be written, but not read.
ROW_BYTES = 128 * 1024

# What makes a spreadsheet take a cell for a formula (OWASP, "CSV injection"), full-width forms included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


class BadRow(ValueError):
    """The row can't be written as a line of CSV; nothing was written."""


def csv_line(row: object) -> str:
    r"""Return a row as a line of CSV.

    A cell that a spreadsheet would take for a formula gets a leading apostrophe; plain numbers stay.

    Args:
        row: A list or tuple of strings, numbers, booleans and ``None`` (an empty cell).

    Raises:
        BadRow: for anything else, for text that can't be written as UTF-8, and for a row above 128 KiB.

    >>> csv_line([1, 1, 3])
    '1,1,3\n'
    >>> csv_line(["a, b", "=1+1", -5, None])
    '"a, b",\'=1+1,-5,\n'
    """
    if not isinstance(row, (list, tuple)):
        raise BadRow(f"a row is a list of cells, not {type(row).__name__}")
    if not row:
        raise BadRow("a row has at least one cell, and this one is empty")
    line = StringIO()
    # Ended with both characters, because before Python 3.13 only those of the line's end are quoted in a cell.
    csv.writer(line, lineterminator="\r\n").writerow([_cell(number, value) for number, value in enumerate(row)])
    return _checked(line.getvalue().removesuffix("\r\n") + "\n")


def _cell(number: int, value: object) -> object:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if not isinstance(value, str):
        raise BadRow(f"cell {number} is a {type(value).__name__}; a cell is text, a number, a boolean or None")
    if "\0" in value:  # what a disk leaves behind after a power cut; clean_data drops such rows
        raise BadRow(f"cell {number} has a NUL character, which CSV can't hold")
    if value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def _checked(line: str) -> str:
    try:
        size = len(line.encode())
    except UnicodeEncodeError as error:
        raise BadRow(f"the row has text that UTF-8 can't hold: {error.reason}") from None
    if size > ROW_BYTES:
        raise BadRow(f"the row is {size:,} bytes as CSV; at most {ROW_BYTES:,} can be read back")
    return line
