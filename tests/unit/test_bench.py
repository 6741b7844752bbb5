"""What the benchmarks make of the numbers, and that a flow which does other work than asked is no contender."""

from __future__ import annotations

import io
import logging
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmarks.__main__ import bench
from benchmarks.chord import MEASURES
from benchmarks.cpu import spent
from benchmarks.figures import Measure, compare, medians, percentile, ratio
from benchmarks.journal import Journal, Line, WrongWork, check, write_from
from benchmarks.tables import compared, processes
from main import tasks_collectors

MORE, LESS = Measure("rate", "requests/s", True), Measure("p50_ms", "p50", False)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([3.0], 0.95) == 3.0
    assert percentile([1, 2, 3, 4], 0.5) == 2
    assert percentile(list(range(100, 0, -1)), 0.95) == 95
    assert percentile([1, 2], 0.0) == 1


def test_medians_go_over_rounds() -> None:
    assert medians([{"a": 1, "b": 9}, {"a": 5, "b": 9}, {"a": 3, "b": 0}]) == {"a": 3, "b": 9}


def test_above_one_is_better_whatever_is_measured() -> None:
    assert ratio(MORE, 200, 100) == 2
    assert ratio(LESS, 200, 100) == 0.5


def test_ratios_are_of_medians_and_held_against_the_aim() -> None:
    rounds = {
        "raw": [{"rate": 90, "p50_ms": 30}, {"rate": 100, "p50_ms": 10}, {"rate": 900, "p50_ms": 20}],
        "auto": [{"rate": 200, "p50_ms": 40}],
    }
    found = compare(rounds, "raw", {"auto": 2.0}, [MORE, LESS])
    assert found["raw"] == {"medians": {"rate": 100, "p50_ms": 20}}
    assert found["auto"]["ratios"] == {"rate": 2.0, "p50_ms": 0.5}
    assert found["auto"]["met"] == {"rate": True, "p50_ms": False}


def test_cpu_time_is_that_of_a_request() -> None:
    assert spent({"redis": 1.0, "gone": 1.0}, {"redis": 3.0, "new": 0.5}, 1000) == {"redis": 2.0, "new": 0.5}


def test_mains_own_log_is_the_journal(tmp_path: Path) -> None:
    """If main says it in other words, the benchmark would wait for ever; so those words are held here."""
    path = tmp_path / "journal"
    log = logging.getLogger(tasks_collectors.__name__)
    level, propagate = log.level, log.propagate
    write_from(log, str(path))
    try:
        request_id = str(uuid.uuid4())
        collectors = (tasks_collectors.collector_1, tasks_collectors.collector_2, tasks_collectors.collector_3)
        found = [collector("python", request_id) for collector in collectors]
        gathered = tasks_collectors.collector_gathering(found, request_id)
        tasks_collectors.process(tasks_collectors.cleanup(gathered, request_id), request_id)
        assert check(Journal(path).read(), 1) == len(gathered)
    finally:
        log.setLevel(level)
        log.propagate = propagate
        log.handlers.pop().close()


def test_a_line_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"1.5 found a 3\n2.5 processed a")
    journal = Journal(path)
    assert journal.read() == [Line(1.5, "found", "a", 3)]
    with path.open("ab") as file:
        file.write(b" 7\n")
    assert journal.read() == [Line(2.5, "processed", "a", 7)]
    assert journal.read() == []
    journal.close()


def _request(request_id: str) -> list[Line]:
    found = [Line(0, "found", request_id, items) for items in (1, 2, 3)]
    return [*found, *(Line(0, kind, request_id, 6) for kind in ("gathered", "cleaned", "processed"))]


def test_the_same_work_passes_and_is_counted() -> None:
    assert check([*_request("a"), *_request("b")], 2) == 12


@pytest.mark.parametrize(
    ("lines", "requests", "says"),
    [
        (_request("a"), 2, "1 requests were worked on, and 2 were asked"),
        (_request("a") + _request("b"), 1, "2 requests were worked on, and 1 were asked"),
        (_request("a") + _request("a")[-1:], 1, "'processed': 2"),
        (_request("a")[1:], 1, "'found': 2"),
        (_request("a")[:-2] + _request("a")[-1:], 1, "'cleaned': 0"),
        ([*_request("a")[:-1], Line(0, "processed", "a", 5)], 1, "should add up"),
    ],
)
def test_other_work_is_no_figure(lines: list[Line], requests: int, says: str) -> None:
    with pytest.raises(WrongWork, match=says):
        check(lines, requests)


def test_the_tables_say_what_was_found() -> None:
    figures = {"requests_s": 120.0, "p50_ms": 30.0, "p95_ms": 50.0}
    better = {"requests_s": 360.0, "p50_ms": 60.0, "p95_ms": 50.0}
    cpu = {"sender": 1.0, "worker": 2.0, "pool": 3.0, "redis": 0.5}
    said = io.StringIO()
    console = Console(file=said, width=120)
    console.print(compared("t", compare({"raw": [figures], "auto": [better]}, "raw", {"auto": 2}, MEASURES), MEASURES))
    less = {"sender": 1.0, "worker": 1.0, "pool": 0.5, "redis": 0.1}
    turns = {"raw": [{"burst": {"cpu_ms": cpu}}], "auto": [{"burst": {"cpu_ms": less}}]}
    console.print(processes({"task": turns}, "raw"))
    for part in ("120.0", "3.00 ✓", "0.50 ✗", "1.00 ✗", "6.50", "2.60", "2.50"):
        assert part in said.getvalue()


def test_help_names_the_benchmarks() -> None:
    result = CliRunner().invoke(bench, ["--help"])
    assert result.exit_code == 0
    assert "chord" in result.output
