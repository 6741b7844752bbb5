"""What a benchmark found, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.figures import Measure


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


def processes(rounds: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> Table:
    """Where the CPU time of a request goes under load: milliseconds by process, medians of the rounds."""
    table = Table(title="CPU under load, ms for each request", title_justify="left")
    names = ("sender", "worker", "pool", "rabbitmq", "redis")
    for title in ("start", "", *names, "all"):
        table.add_column(title, justify="left" if title in ("start", "") else "right")
    for start, contenders in rounds.items():
        for contender, turns in contenders.items():
            used = {name: [turn["burst"]["cpu_ms"].get(name) for turn in turns] for name in names}
            middle = [median(values) if None not in values else None for values in used.values()]
            total = sum(value for value in middle if value is not None)
            table.add_row(start, contender, *("" if one is None else f"{one:.2f}" for one in middle), f"{total:.2f}")
    return table
