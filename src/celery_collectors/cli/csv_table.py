"""Items as CSV: a column for each key, and no cell that a spreadsheet would run or a terminal obey."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from typing import Any

from celery_collectors.cli.text import as_json

# What makes a spreadsheet take a cell for a formula (OWASP, "CSV injection"), full-width forms included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a tab and the end of a line are text
_ALONE = "item"


def csv_lines(items: Callable[[], Iterable[Any]]) -> Iterator[str]:
    r"""A heading and a line for each item, with what parts it from the one before.

    Args:
        items: Called twice: the columns are all keys of all items, in the order in which they come up. What is no
            object has a column of its own, named ``item``.

    >>> "".join(csv_lines(lambda: [{"a": 1, "b": "=1+1"}, {"a": -2.5, "c": [True]}]))
    "a,b,c\n1,'=1+1,\n-2.5,,[true]"
    """
    columns = _columns(items())
    if not columns:
        return
    yield _line(columns)
    for item in items():
        row = as_row(item, _ALONE)
        yield "\n" + _line([row.get(column) for column in columns])


def _columns(items: Iterable[Any]) -> list[str]:
    found: dict[str, None] = {}
    for item in items:
        found |= dict.fromkeys(as_row(item, _ALONE))
    return list(found)


def as_row(item: Any, alone: str) -> dict[str, Any]:
    """An item's cells by column; what is no object has one, of this name."""
    return {str(key): value for key, value in item.items()} if isinstance(item, dict) else {alone: item}


def as_text(value: Any) -> str:
    """A value in one cell: a string as it is, a time or a decimal as JSON writes it, what has parts as JSON.

    >>> as_text("two"), as_text([True]), as_text(b"raw")
    ('two', '[true]', 'cmF3')
    """
    text = value if isinstance(value, str) else as_json(value, indent=None)
    if not isinstance(value, (str, list, dict)) and text.startswith('"'):
        text = text[1:-1]  # a time, a decimal, bytes: what JSON writes as plain text
    return text


def _line(cells: Iterable[Any]) -> str:
    line = StringIO()
    # Ended with both characters, because before Python 3.13 only those of the line's end are quoted in a cell.
    csv.writer(line, lineterminator="\r\n").writerow([_cell(value) for value in cells])
    return line.getvalue().removesuffix("\r\n")


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    clean = _CONTROLS.sub("", as_text(value)).encode(errors="backslashreplace").decode()
    return f"'{clean}" if clean.startswith(_FORMULA) and not _NUMBER.fullmatch(clean) else clean
