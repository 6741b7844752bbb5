"""Items as CSV: what a spreadsheet reads, what it must not run, what a terminal must not obey."""

from __future__ import annotations

import csv
import doctest
import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_collectors.cli import csv_table
from tests.cli.conftest import Shell


def _rows(items: list[Any]) -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(csv_table.csv_lines(lambda: items)), newline="")))


def test_its_example_is_true() -> None:
    assert doctest.testmod(csv_table).failed == 0


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\nx", "＝1", '=HYPERLINK("http://x")']
)
def test_nothing_is_a_formula(text: str) -> None:
    heading, row = _rows([{text: text}])
    assert (heading, row) == (["'" + text], ["'" + text])


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""), (True, "true"), (-5, "-5"), ("-5", "-5"), ("+1.5e3", "+1.5e3"), (float("nan"), ""), (1.5, "1.5"),
        ("a, \"b\"\nc", "a, \"b\"\nc"), ([1, "x"], '[1, "x"]'), ({"a": {}}, '{"a": {}}'),
        (Decimal("1.10"), "1.10"), (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"), (b"raw", "cmF3"),
        ("\x1b]0;title\x07\x9b31m", "]0;title31m"), ("\ud800", "\\ud800"),
    ],
)  # fmt: skip
def test_each_kind_of_value_has_its_cell(value: Any, cell: str) -> None:
    assert _rows([{"a": value, "b": 1}])[1] == [cell, "1"]


def test_keys_of_all_items_are_columns_and_what_is_no_object_has_its_own() -> None:
    assert _rows([{"a": 1}, "text", {"b": 2, "a": 3}]) == [
        ["a", "item", "b"], ["1", "", ""], ["", "text", ""], ["3", "", "2"],
    ]  # fmt: skip
    assert _rows([]) == []


@given(st.lists(st.dictionaries(st.text(), st.none() | st.booleans() | st.floats() | st.text()), min_size=1))
def test_every_row_has_every_column(items: list[dict[str, Any]]) -> None:
    text = "".join(csv_table.csv_lines(lambda: items))
    text.encode()
    rows = [row or [""] for row in csv.reader(io.StringIO(text, newline=""))]
    columns = len({key for item in items for key in item})
    if columns:
        assert len(rows) == len(items) + 1
        assert {len(row) for row in rows} == {columns}


def test_the_command_writes_it(warm: Shell) -> None:
    request_id = warm.collect("fast:food", "--json").json()["request_id"]
    done = warm.run("--app", "shop", "requests", "result", request_id, "--format", "csv")
    assert (done.code, done.out) == (0, "item\nfast:food\ntwo\nfast:food\n")
