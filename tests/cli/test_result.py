"""``requests result``: what a request came to, whole or item by item."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Shell, until

COUNT = 3000  # kilobytes
ODD = {"price": "1.10", "at": "2026-01-02T00:00:00Z", "sign": "\x9b31m", "raw": "cmF3"}


@pytest.fixture
def odd(warm: Shell) -> str:
    return str(warm.collect(f"odd:{COUNT}", "--json").json()["request_id"])


def test_items_come_one_a_line(warm: Shell, odd: str) -> None:
    done = warm.run("--app", "shop", "requests", "result", odd, "--format", "ndjson")
    lines = done.out.splitlines()
    assert (done.code, len(lines)) == (0, COUNT + 1)
    assert json.loads(lines[0]) == ODD
    assert "\x9b" not in done.out
    assert [json.loads(line) for line in lines[1:]] == [f"{number:0>1000}" for number in range(COUNT)]


def test_the_result_is_json_and_goes_into_a_file(warm: Shell, odd: str, tmp_path: Path) -> None:
    assert warm.run("--app", "shop", "requests", "result", odd[:8]).json() == COUNT + 1
    file = tmp_path / "items.ndjson"
    done = warm.run("--app", "shop", "requests", "result", odd, "--format", "ndjson", "-o", str(file))
    assert (done.code, done.out, len(file.read_text().splitlines())) == (0, "", COUNT + 1)


def test_of_a_failed_request_nothing_is_printed_where_nothing_was_collected(warm: Shell, tmp_path: Path) -> None:
    request_id = warm.collect("bad:luck", "--json").json()["request_id"]
    done = warm.run("--app", "shop", "requests", "result", request_id, "--format", "ndjson")
    assert (done.code, done.out) == (0, "")
    file = tmp_path / "items.ndjson"
    done = warm.run("--app", "shop", "requests", "result", request_id, "--format", "ndjson", "-o", str(file))
    assert (done.code, file.read_bytes()) == (0, b""), "an empty line would be no item"


def test_what_has_not_ended_has_no_result(warm: Shell, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    request_id = warm.collect(f"slow:{gate}", "--detach").out.strip()
    done = warm.run("--app", "shop", "requests", "result", request_id)
    assert (done.code, done.out) == (1, "")
    assert "is still collecting, and has no result yet" in done.err
    gate.touch()
    until(lambda: warm.run("--app", "shop", "requests", "result", request_id).code == 0, "it has ended")


def test_what_is_gone_from_the_store_is_one_line_and_replaces_no_file(warm: Shell, odd: str, tmp_path: Path) -> None:
    (lost,) = (warm.home / "payloads").rglob(f"*/{odd}/0/1_1/0")
    lost.unlink()
    file = tmp_path / "items.ndjson"
    file.write_text("what was there")
    done = warm.run("--app", "shop", "requests", "result", odd, "--format", "ndjson", "-o", str(file))
    assert (done.code, file.read_text()) == (1, "what was there")
    assert "error: blob 1 of 3 is gone from" in done.err
    assert len(done.err.splitlines()) == 2  # the other is what the app prints
