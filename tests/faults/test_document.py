"""The document that ``scripts/faults`` makes of rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.document import PROCESSES, Kept, Key, cells_of, document, in_cell, not_once, summary
from tests.faults.matrix import Row
from tests.integration.apps import SESSION

ROOT = Path(__file__).parents[2]
OURS = Row(fault="a fault", setup="redis", once=2, recovery_s=1.0)
RAW = Row(fault="a fault", setup="redis", who="raw chord", never=4, once=1)


def test_what_a_run_says_several_times_is_added_up_and_an_older_runs_is_forgotten() -> None:
    old = Row(fault="a fault", setup="redis", never=9)
    cells = cells_of([Kept(2.0, OURS), Kept(1.0, old), Kept(2.0, Row(fault="a fault", setup="redis", once=1))])
    assert cells == {Key("a fault", "redis", "ours"): Row(fault="a fault", setup="redis", once=3, recovery_s=1.0)}


def test_ours_stands_beside_the_raw_chord_and_among_all_of_ours() -> None:
    lines = document(cells_of([Kept(1.0, OURS), Kept(1.0, RAW)])).splitlines()
    assert "| a fault | redis | 1 once, 4 **never** |  | 2 once; 1.0 s |" in lines
    assert "| a fault |  | 2 once; 1.0 s |  |" in lines


@pytest.mark.parametrize("word", ["never", "twice", "wrong"])
def test_what_was_not_answered_once_is_said_at_the_end(word: str) -> None:
    bad = Row(fault="another", setup="embedded", once=3, **{word: 1})
    cells = cells_of([Kept(1.0, OURS), Kept(1.0, RAW), Kept(1.0, bad)])
    assert list(not_once(cells)) == [bad]
    assert f"NOT ONCE: another, on embedded: 3 once, 1 **{word}**" in list(summary(cells))


def test_a_row_without_a_request_proves_nothing() -> None:
    empty = Row(fault="a fault", setup="redis")
    assert list(not_once(cells_of([Kept(1.0, empty)]))) == [empty]
    assert in_cell(None) == ""


def test_a_part_of_the_matrix_is_run_and_printed(tmp_path: Path) -> None:
    """As ``scripts/faults`` does, which only sees to the environment first."""
    command = [sys.executable, "-m", "tests.faults.document", "--quick", "--setups", "embedded", "-k"]
    env = {name: value for name, value in os.environ.items() if name != SESSION} | {PROCESSES: "0"}
    ran = subprocess.run([*command, "a_fault"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "# What came of every fault" in ran.stdout
    assert "pytest passed" in ran.stdout
