"""Items as Parquet: what comes back is what went in, whatever it is and however much."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyarrow")
import pyarrow as pa
import pyarrow.parquet as pq

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.parquet_table import GROUP_ROWS, MOST_COLUMNS, refuse_without_pyarrow, write_parquet
from tests.cli.conftest import Shell
from tests.cli.test_terminal import Terminal

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def written(items: list[Any]) -> pq.ParquetFile:
    file = io.BytesIO()
    write_parquet(lambda: items, file)
    return pq.ParquetFile(io.BytesIO(file.getvalue()))


def rows(items: list[Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = written(items).read().to_pylist()
    return found


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([True, None], pa.bool_(), [True, None]),
        ([1, -(2**62)], pa.int64(), [1, -(2**62)]),
        ([1, 1.5], pa.float64(), [1.0, 1.5]),
        ([2**60, 1.5], pa.string(), [str(2**60), "1.5"]),  # a float would be another number
        ([2**63, 1], pa.string(), [str(2**63), "1"]),
        (["a", "\ud800"], pa.string(), ["a", "\\ud800"]),
        ([b"raw\xff"], pa.binary(), [b"raw\xff"]),
        ([NOON, NOON.astimezone(timezone(timedelta(hours=2)))], pa.timestamp("us", "UTC"), [NOON, NOON]),
        ([NOON.replace(tzinfo=None)], pa.timestamp("us"), [NOON.replace(tzinfo=None)]),
        ([NOON, NOON.replace(tzinfo=None)], pa.string(), ["2026-01-02T12:00:00Z", "2026-01-02T12:00:00"]),
        ([date(2026, 1, 2)], pa.date32(), [date(2026, 1, 2)]),
        ([time(1, 2)], pa.time64("us"), [time(1, 2)]),
        ([time(1, 2, tzinfo=UTC)], pa.string(), ["01:02:00Z"]),
        ([Decimal("1.10")], pa.string(), ["1.10"]),
        ([[1, "x"], {"a": {}}], pa.string(), ['[1, "x"]', '{"a": {}}']),
        ([True, 1, "1"], pa.string(), ["true", "1", "1"]),
        ([None, None], pa.string(), [None, None]),
        (["=1+1", "\x1b[31m"], pa.string(), ["=1+1", "\x1b[31m"]),  # no spreadsheet, no terminal
    ],
)
def test_each_column_has_the_type_of_its_values(values: list[Any], kind: pa.DataType, read: list[Any]) -> None:
    found = written([{"a": value} for value in values])
    assert found.schema_arrow.field("a").type == kind
    assert found.read().to_pydict() == {"a": read}


def test_keys_of_all_items_are_columns_and_what_is_no_object_has_its_own() -> None:
    assert rows([{"a": 1}, "text", {"b": 2.5, "a": 3}]) == [
        {"a": 1, "value": None, "b": None}, {"a": None, "value": "text", "b": None}, {"a": 3, "value": None, "b": 2.5},
    ]  # fmt: skip
    assert rows([[1], [2]]) == [{"value": "[1]"}, {"value": "[2]"}]


def test_of_no_items_there_is_a_table_without_rows_and_of_empty_ones_there_are_rows() -> None:
    assert rows([]) == []
    assert written([{}, {}]).metadata.num_rows == 2


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
CELL = (
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False) | TEXT | st.binary()
)


@given(st.lists(st.dictionaries(TEXT, CELL, max_size=4), max_size=20))
def test_nothing_is_lost(items: list[dict[str, Any]]) -> None:
    kinds: dict[str, set[type]] = {}
    for name, value in ((name, value) for item in items for name, value in item.items()):
        kinds.setdefault(name, set()).update({type(value)} - {type(None)})
    found = rows(items)
    assert len(found) == len(items)
    for item, row in zip(items, found, strict=True):
        for name, value in item.items():
            assert (row[name] is None) == (value is None)
            assert row[name] == value or len(kinds[name]) > 1


def test_rows_are_written_some_at_a_time() -> None:
    many = written([{"a": number} for number in range(GROUP_ROWS + 1)])
    assert [many.metadata.row_group(at).num_rows for at in range(2)] == [GROUP_ROWS, 1]
    large = written([{"a": "x" * 2**20} for _ in range(40)])
    assert large.metadata.num_row_groups == 3  # of 16 MiB


def test_items_with_ever_new_keys_are_no_table() -> None:
    with pytest.raises(Complaint, match="more than 10,000 different keys"):
        written([{str(number): 1} for number in range(MOST_COLUMNS + 1)])


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "pyarrow")
    with pytest.raises(Complaint) as refused:
        refuse_without_pyarrow()
    assert refused.value.hint == "pip install 'celery-collectors[parquet]'"


def test_the_command_writes_what_it_writes_as_lines(warm: Shell, tmp_path: Path) -> None:
    request_id = warm.collect("odd:300", "--json").json()["request_id"]
    result = ("--app", "shop", "requests", "result", request_id, "--format")
    lines = [json.loads(line) for line in warm.run(*result, "ndjson").out.splitlines()]
    file = tmp_path / "items.parquet"
    file.write_text("what was there")
    done = warm.run(*result, "parquet", "-o", str(file))
    assert (done.code, done.out, list(tmp_path.iterdir())) == (0, "", [file])
    found = pq.read_table(file).to_pylist()
    assert [row["value"] for row in found[1:]] == lines[1:]
    odd, as_line = found[0], lines[0]
    assert (odd["price"], odd["at"], odd["sign"]) == (
        as_line["price"],
        datetime(2026, 1, 2, tzinfo=UTC),
        as_line["sign"],
    )
    assert odd["raw"] == b"raw"
    command = [sys.executable, "-P", "-m", "celery_collectors.cli", *result, "parquet"]
    piped = subprocess.run(command, cwd=warm.project, env=warm.env, capture_output=True, check=True).stdout
    assert pq.read_table(io.BytesIO(piped)).to_pylist() == found


def test_a_terminal_is_spared_it(warm: Shell) -> None:
    terminal = Terminal(warm, "--app", "shop", "requests", "result", "3f8a21", "--format", "parquet")
    code = terminal.done()
    terminal.close()
    assert (code, "give a file with -o FILE" in terminal.text) == (2, True)


def test_what_can_not_be_written_whole_replaces_nothing(warm: Shell, tmp_path: Path) -> None:
    request_id = warm.collect("odd:3000", "--json").json()["request_id"]
    (lost,) = (warm.home / "payloads").rglob(f"*/{request_id}/0/1_1/0")
    lost.unlink()
    file = tmp_path / "items.parquet"
    file.write_text("what was there")
    done = warm.run("--app", "shop", "requests", "result", request_id, "--format", "parquet", "-o", str(file))
    assert (done.code, file.read_text(), list(tmp_path.iterdir())) == (1, "what was there", [file])
    assert "error: blob 1 of 3 is gone from" in done.err
