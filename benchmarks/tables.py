"""What a benchmark found, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.figures import Measure

PROCESSES = ("sender", "worker", "pool", "rabbitmq", "redis")


def compared(title: str, found: Mapping[str, Any], measures: Sequence[Measure]) -> Table:
    """Each contender's medians, and beside them how many times as good as the base that is."""
    table = Table(title=title, title_justify="left", caption="× above 1 is better than raw", caption_justify="left")
    table.add_column("")
    for measure in measures:
        table.add_column(measure.title, justify="right")
        table.add_column("×", justify="right")
    table.add_column("aim", justify="right")
    for name, one in found.items():
        cells = [cell for measure in measures for cell in _cells(one, measure.name)]
        table.add_row(name, *cells, f"{one['aim']:.1f}" if "aim" in one else "")
    return table


def _cells(one: Mapping[str, Any], name: str) -> tuple[str, str]:
    value = f"{one['medians'][name]:.1f}"
    if "ratios" not in one:
        return value, ""
    return value, f"{one['ratios'][name]:.2f} {'✓' if one['met'][name] else '✗'}"


def processes(rounds: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], base: str) -> Table:
    """Where the CPU time of a request goes under load: milliseconds by process, medians of the rounds.

    And how many times less that is than the base's, which hardly depends on what else the machine does.
    """
    table = Table(title="CPU under load, ms for each request", title_justify="left")
    for title in ("start", "", *PROCESSES, "all", "×"):
        table.add_column(title, justify="left" if title in ("start", "") else "right")
    for start, contenders in rounds.items():
        used = {name: cpu_medians(turns) for name, turns in contenders.items()}
        for name, one in used.items():
            cells = [f"{one[process]:.2f}" if process in one else "" for process in PROCESSES]
            less = "" if name == base else f"{sum(used[base].values()) / sum(one.values()):.2f}"
            table.add_row(start, name, *cells, f"{sum(one.values()):.2f}", less)
    return table


def cpu_medians(turns: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By process, the median of its CPU time over the rounds."""
    used = [turn["burst"]["cpu_ms"] for turn in turns]
    return {name: median(one[name] for one in used) for name in PROCESSES if all(name in one for one in used)}
