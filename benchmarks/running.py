"""How every benchmark is run: a time limit, the machine looked at before, a table, a JSON file, a picture."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console

from benchmarks.contender import TooSlow
from benchmarks.journal import WrongWork
from benchmarks.machine import busy, machine, versions
from benchmarks.plot import draw
from benchmarks.report import Measured, findings_table

OUT = Path("bench-results")


class Benchmark(NamedTuple):
    """One of the subcommands.

    Attributes:
        name: The subcommand's.
        title: What is measured, in one line.
        measure: Measures, quickly or not, until a time on the monotonic clock.
        quick_s, full_s: When what is not done is given up.
    """

    name: str
    title: str
    measure: Callable[[bool, float], Measured]
    quick_s: float = 115
    full_s: float = 570


def run(benchmark: Benchmark, *, quick: bool, as_json: bool, out: Path) -> dict[str, Any]:
    """Measure; show what was found, and write it into a folder.

    Raises:
        ClickException: when it could not be measured, or the wrong thing would have been.
    """
    began_at = time.monotonic()
    head = {"benchmark": benchmark.name, "quick": quick, "machine": machine(), "busy": busy()}
    for warning in head["busy"]:
        say(warning)
    try:
        found = benchmark.measure(quick, time.monotonic() + (benchmark.quick_s if quick else benchmark.full_s))
    except (WrongWork, TooSlow) as error:
        raise click.ClickException(
            f"{benchmark.name}: {error} (the machine's load is {os.getloadavg()[0]:.1f})"
        ) from error
    report = head | {
        "versions": versions() | dict(found.versions),
        "findings": [one.to_dict() for one in found.findings],
        "notes": list(found.notes),
        "details": found.details,
        "took_s": round(time.monotonic() - began_at, 1),
    }
    _show(benchmark, found, report, Console(stderr=as_json))
    _write(benchmark, found, report, out)
    return report


def _show(benchmark: Benchmark, found: Measured, report: dict[str, Any], console: Console) -> None:
    for table in found.tables:
        console.print(table)
    console.print(findings_table(f"{benchmark.name}: {benchmark.title}", found.findings))
    for note in (*found.notes, *report["busy"]):
        console.print(f"- {note}", highlight=False, markup=False)
    facts = {**report["versions"], **report["machine"], "took_s": report["took_s"]}
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), style="dim", highlight=False)


def _write(benchmark: Benchmark, found: Measured, report: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    written = out / f"{benchmark.name}.json"
    written.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if found.pictures:
        draw(f"{benchmark.name}: {benchmark.title}", found.pictures, written.with_suffix(".png"))
    say(f"written: {written}" + (f" and {written.with_suffix('.png').name}" if found.pictures else ""))


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    click.echo(text, err=True)


def commands(benchmarks: Sequence[Benchmark]) -> list[click.Command]:
    """A subcommand for each."""
    return [_command(one) for one in benchmarks]


def _command(benchmark: Benchmark) -> click.Command:
    @click.command(benchmark.name, help=f"{benchmark.title[0].upper()}{benchmark.title[1:]}.")
    @click.option("--quick", is_flag=True, help="A fraction of the load: under two minutes, and rough.")
    @click.option("--json", "as_json", is_flag=True, help="One object on standard output, with all that was measured.")
    @click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True, help="Where results go.")
    def command(quick: bool, as_json: bool, out: Path) -> None:
        report = run(benchmark, quick=quick, as_json=as_json, out=out)
        if as_json:
            click.echo(json.dumps(report))

    return command
