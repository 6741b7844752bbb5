"""Malformed rows are dropped, all at once; well-formed ones stay, byte for byte."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from main import tasks_async
from main.cleaning import rows
from main.csv_row import ROW_BYTES
from main.tasks_async import clean_data, create_project
from tests.main.dying import die_at_every_line

LONG = b"1,1," + b"x" * 999 + b"\n"
Cleaned = tuple[dict[str, int], bytes]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tasks' data folder."""
    monkeypatch.setattr(tasks_async, "DATA_DIR", tmp_path)
    return tmp_path


@pytest.fixture
def cleaned(data_dir: Path) -> Callable[[bytes], Cleaned]:
    """Clean a file with these bytes."""

    def clean(content: bytes) -> Cleaned:
        (data_dir / "a.csv").write_bytes(content)
        counts = clean_data("a.csv")
        return counts, (data_dir / "a.csv").read_bytes()

    return clean


@pytest.mark.parametrize(
    ("content", "dropped", "left"),
    [
        (b"", 0, b""),
        (b"1,1,3\n", 0, b"1,1,3\n"),
        (b"1,1,3\n1,1,", 1, b"1,1,3\n"),  # torn
        (b"1,1,3\n1,1,3", 1, b"1,1,3\n"),  # perhaps torn: 1,1,34?
        (b"1,1,3\n\n\n1,1,4\n", 2, b"1,1,3\n1,1,4\n"),  # blank
        (b"1,1,3\n1,1\n1,1,4\n", 1, b"1,1,3\n1,1,4\n"),  # too few
        (b"1,1,3\n1,1,3,1,1,4\n1,1,4\n", 1, b"1,1,3\n1,1,4\n"),  # too many
        (b"1,1\n1,1,3\n1,1,4\n", 1, b"1,1,3\n1,1,4\n"),  # most, not the first
        (b"1,1\n1,1,3\n", 1, b"1,1\n"),  # at a tie, the first
        (b"1,\xff,3\n1,1,4\n", 1, b"1,1,4\n"),  # not UTF-8
        (b"1,\0,3\n1,1,4\n", 1, b"1,1,4\n"),  # NUL
        (b'1,"1,3\n1,1,4\n1,1,5\n', 1, b"1,1,4\n1,1,5\n"),  # a quote that never closes costs its own line only
        (b'1,"1,3\n1,1,4\n1,"1",5\n', 1, b'1,1,4\n1,"1",5\n'),  # nor if there is a quote later
        (b'1,"1\n1,1,3\n', 1, b"1,1,3\n"),
        (b'1,"1"1,3\n1,1,4\n', 1, b"1,1,4\n"),  # text after a closing quote
        (b'1,"a\nb",3\n1,1,4\n', 0, b'1,"a\nb",3\n1,1,4\n'),  # a newline in a cell is none between rows
        (b"1,1,3\r\n1,1\r\n1,1,4\r\n", 1, b"1,1,3\r\n1,1,4\r\n"),  # Windows' line ends stay
        (b"a\rb,1,3\n1,1,4\n", 1, b"1,1,4\n"),
        (b"\xef\xbb\xbf1,1,3\n1\n1,1,4\n", 1, b"\xef\xbb\xbf1,1,3\n1,1,4\n"),  # a byte order mark stays
        (b",,\n1,1,4\n", 0, b",,\n1,1,4\n"),  # empty cells are cells
        (b"\n\n", 2, b""),
        (b"x" * (ROW_BYTES * 3) + b"\n1,1,3\n", 1, b"1,1,3\n"),
        (b"1,1,3\n" + b"x" * (ROW_BYTES * 3), 1, b"1,1,3\n"),
        (b'1,"' + LONG * 300, 1, LONG * 299),  # nor in a large file
    ],
)
def test_malformed_rows_are_dropped(
    cleaned: Callable[[bytes], Cleaned], content: bytes, dropped: int, left: bytes
) -> None:
    counts, now = cleaned(content)
    assert now == left
    assert counts == {"kept": sum(row.cells > 0 for row in rows(BytesIO(left))), "dropped": dropped}


soup = st.lists(st.sampled_from([b"1,1,3\n", b"1", b",", b'"', b"\n", b"\r", b"\xff", b"\0", b'"a\nb",1,2\n'])).map(
    b"".join
)


@given(soup)
def test_every_byte_is_in_one_row(content: bytes) -> None:
    assert b"".join(row.raw for row in rows(BytesIO(content))) == content


@given(soup)
def test_cleaning_twice_is_cleaning_once(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("data")
    with patch.object(tasks_async, "DATA_DIR", folder):
        (folder / "a.csv").write_bytes(content)
        first = clean_data("a.csv")
        left = (folder / "a.csv").read_bytes()
        assert clean_data("a.csv") == {"kept": first["kept"], "dropped": 0}
        assert (folder / "a.csv").read_bytes() == left


def test_a_missing_file_has_no_rows_and_is_not_made(data_dir: Path) -> None:
    assert clean_data("a.csv") == {"kept": 0, "dropped": 0}
    assert clean_data("missing/a.csv") == {"kept": 0, "dropped": 0}
    assert list(data_dir.iterdir()) == []


def test_a_clean_file_is_not_rewritten(data_dir: Path) -> None:
    create_project([1, 1, 3], "a.csv")
    before = (data_dir / "a.csv").stat()
    clean_data("a.csv")
    after = (data_dir / "a.csv").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_file_keeps_its_mode(data_dir: Path) -> None:
    (data_dir / "a.csv").write_bytes(b"1,1,3\n1")
    (data_dir / "a.csv").chmod(0o664)
    clean_data("a.csv")
    assert stat.S_IMODE((data_dir / "a.csv").stat().st_mode) == 0o664


def test_a_reader_of_the_old_file_still_sees_it_whole(data_dir: Path) -> None:
    (data_dir / "a.csv").write_bytes(b"1,1,3\n1")
    with (data_dir / "a.csv").open("rb") as reader:
        clean_data("a.csv")
        assert reader.read() == b"1,1,3\n1"
    assert (data_dir / "a.csv").read_bytes() == b"1,1,3\n"


def test_an_error_on_the_way_leaves_the_file_as_it_was(data_dir: Path) -> None:
    (data_dir / "a.csv").write_bytes(b"1,1,3\n1")
    with patch.object(os, "rename", side_effect=OSError(28, "No space left on device")), pytest.raises(OSError):
        clean_data("a.csv")
    assert (data_dir / "a.csv").read_bytes() == b"1,1,3\n1"
    assert sorted(path.name for path in data_dir.iterdir()) == [".a.csv.lock", "a.csv"]


def test_killed_anywhere_the_file_is_the_old_or_the_new_one(data_dir: Path) -> None:
    old, new = b"1,1,3\n1,1\n1,1,4\n", b"1,1,3\n1,1,4\n"
    seen = set()
    path = data_dir / "a.csv"
    path.write_bytes(old)
    for _ in die_at_every_line(lambda: clean_data("a.csv")):
        seen.add(path.read_bytes())
        clean_data("a.csv")
        assert path.read_bytes() == new
        assert not (data_dir / ".a.csv.cleaned").exists() or path.read_bytes() == new
        path.write_bytes(old)
    assert seen == {old, new}


def test_what_a_killed_cleaning_left_goes_with_the_next_that_has_something_to_do(data_dir: Path) -> None:
    (data_dir / "a.csv").write_bytes(b"1,1,3\n1")
    (data_dir / ".a.csv.cleaned").write_bytes(b"half of")
    clean_data("a.csv")
    assert (data_dir / "a.csv").read_bytes() == b"1,1,3\n"
    assert not (data_dir / ".a.csv.cleaned").exists()
