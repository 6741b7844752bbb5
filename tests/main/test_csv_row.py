"""What is written can be read back, and is harmless in a spreadsheet."""

from __future__ import annotations

import csv
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from main.cleaning import rows
from main.csv_row import ROW_BYTES, BadRow, csv_line

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from("=+-@\t\r\n\",;' 1"))
cells = st.none() | st.booleans() | st.integers() | st.floats() | texts


def shown(value: Any) -> str:
    return "" if value is None else str(value)


@given(st.lists(st.lists(cells, min_size=3, max_size=3), max_size=5))
def test_rows_are_read_back_as_they_were(table: list[list[Any]]) -> None:
    read = list(csv.reader(_lines("".join(csv_line(row) for row in table)), strict=True))
    assert len(read) == len(table)
    for cells_read, row in zip(read, table, strict=True):
        for cell, value in zip(cells_read, row, strict=True):
            assert cell in (shown(value), f"'{shown(value)}")


def _lines(text: str) -> list[str]:
    """Not splitlines: that also splits at characters that end no line in CSV."""
    return [f"{line}\n" for line in text.split("\n")][:-1]


@given(st.lists(cells, min_size=1, max_size=4))
def test_what_create_project_writes_is_well_formed_to_clean_data(row: list[Any]) -> None:
    line = csv_line(row).encode()
    assert [(found.raw, found.cells) for found in rows(BytesIO(line + line))] == [(line, len(row))] * 2


@given(texts)
def test_no_cell_is_a_formula(text: str) -> None:
    (cell,) = next(csv.reader(_lines(csv_line([text])), strict=True))
    if cell[:1] in tuple("=+-@\t\r\n＝＋－＠"):
        float(cell)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+1", "'+1+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", '"\'\r=1"'),
        ("＝1", "'＝1"),
        ("-", "'-"),
        ("-1 ", "'-1 "),
        ("-٣", "'-٣"),
        ("-5", "-5"),
        ("+4.5", "+4.5"),
        ("-1e-9", "-1e-9"),
        (-5, "-5"),
        (-1.5, "-1.5"),
        (float("-inf"), "-inf"),
        ("a=b", "a=b"),
        ("a@b.example", "a@b.example"),
        (True, "True"),
        (None, '""'),
        ("", '""'),
        ("a\nb", '"a\nb"'),
        ("a\rb", '"a\rb"'),
        ('say "hi"', '"say ""hi"""'),
    ],
)
def test_a_cell_is_quoted_and_neutralised(value: Any, written: str) -> None:
    assert csv_line([value]) == f"{written}\n"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (None, "a row is a list of cells, not NoneType"),
        ("1,1,3", "not str"),
        (b"1,1,3", "not bytes"),
        (3, "not int"),
        ({"a": 1}, "not dict"),
        (iter([1]), "not list_iterator"),
        ([], "empty"),
        ((), "empty"),
        ([1, [2]], "cell 1 is a list"),
        ([{"a": 1}], "cell 0 is a dict"),
        ([b"1"], "cell 0 is a bytes"),
        (["a\0b"], "NUL"),
        (["\ud800"], "UTF-8"),
        (["x" * ROW_BYTES], "at most 131,072"),
    ],
)
def test_what_is_no_row_is_refused(row: Any, reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        csv_line(row)


def test_the_longest_row_can_be_read_back() -> None:
    line = csv_line(["x" * (ROW_BYTES - 1)]).encode()
    assert len(line) == ROW_BYTES
    assert [row.cells for row in rows(BytesIO(line * 2))] == [1, 1]
