"""``scripts/bench chord``: main's workflow beside the same on Celery's own ``chord``.

Same broker, same Redis, same number of processes, same events; started the same way, by a message of the task
``collector_request`` and straight from the client. The contenders take turns within one run.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console

from benchmarks.contender import Contender, Flow, TooSlow, running
from benchmarks.figures import Measure, compare
from benchmarks.journal import WrongWork
from benchmarks.machine import machine, versions
from benchmarks.servers import Servers, servers
from benchmarks.tables import compared, processes

FLOWS = (
    Flow("raw", "benchmarks.flows.raw", {}),
    Flow("each", "benchmarks.flows.ours", {"BENCH_MESSAGES": "each"}),
    Flow("auto", "benchmarks.flows.ours", {"BENCH_MESSAGES": "auto"}),
)
AIMS = {"each": 1.0, "auto": 2.0}
STARTS = {"task": "started by the task collector_request", "client": "started straight from the client"}
MEASURES = (
    Measure("requests_s", "requests/s", True),
    Measure("p50_ms", "idle p50, ms", False),
    Measure("p95_ms", "idle p95, ms", False),
)


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: How often every contender has its turn, for each start.
        in_flight: Requests put in at once.
        singles: Requests put in one after another.
        limit_s: When what is not done is given up.
    """

    rounds: int
    in_flight: int
    singles: int
    limit_s: float


FULL = Size(rounds=3, in_flight=1000, singles=100, limit_s=570)
QUICK = Size(rounds=1, in_flight=200, singles=30, limit_s=105)
WARM_UP = 20

Measured = dict[str, dict[str, list[dict[str, Any]]]]
"""By start and contender, its rounds."""


@click.command
@click.option("--quick", is_flag=True, help="One round of a fifth of the load: under two minutes, and rough.")
@click.option("--json", "as_json", is_flag=True, help="One object on standard output, with every round's figures.")
def chord(quick: bool, as_json: bool) -> None:
    """Run main's workflow beside the same on Celery's own chord."""
    size = QUICK if quick else FULL
    people = Console(stderr=as_json)
    try:
        report = _run(size)
    except (WrongWork, TooSlow) as error:
        raise click.ClickException(f"{error} (the machine's load is {os.getloadavg()[0]:.1f})") from error
    for start, title in STARTS.items():
        people.print(compared(f"{title}, {size.in_flight:,} in flight", report["compared"][start], MEASURES))
    people.print(processes(report["rounds"], "raw"))
    if as_json:
        click.echo(json.dumps(report))


def _run(size: Size) -> dict[str, Any]:
    began_at = time.monotonic()
    ends_at = began_at + size.limit_s
    report: dict[str, Any] = {"benchmark": "chord", "size": size._asdict(), "machine": machine()}
    with ExitStack() as stack:
        both = stack.enter_context(servers())
        report["versions"] = versions() | both.versions()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-bench-")))
        contenders = [stack.enter_context(one) for one in _contenders(both, folder)]
        report["rounds"] = measured = _measure(contenders, size, ends_at)
    report["compared"] = {start: compare(_figures(rounds), "raw", AIMS, MEASURES) for start, rounds in measured.items()}
    return report | {"took_s": round(time.monotonic() - began_at, 1)}


def _contenders(both: Servers, folder: Path) -> Iterator[Any]:
    return (running(flow, both, number=number, folder=folder) for number, flow in enumerate(FLOWS))


def _measure(contenders: Sequence[Contender], size: Size, ends_at: float) -> Measured:
    """Round after round, as many as there is time for; every contender has its turn at every start in each.

    Raises:
        TooSlow: when there was not even time for one.
    """
    for contender in contenders:
        for start in STARTS:
            contender.burst(start, WARM_UP, ends_at=ends_at)
    rounds: list[dict[str, dict[str, dict[str, Any]]]] = []
    for number in range(size.rounds):
        _say(f"round {number + 1} of {size.rounds}")
        first = number % len(contenders)
        try:
            rounds.append(_round([*contenders[first:], *contenders[:first]], size, ends_at))
        except TooSlow as error:
            if not rounds:
                raise
            _say(f"not counted: {error}")
            break
    return {start: {one.name: [turns[start][one.name] for turns in rounds] for one in contenders} for start in STARTS}


def _round(contenders: Sequence[Contender], size: Size, ends_at: float) -> dict[str, dict[str, dict[str, Any]]]:
    turns: dict[str, dict[str, dict[str, Any]]] = {start: {} for start in STARTS}
    for start, title in STARTS.items():
        for contender in contenders:
            turn = turns[start][contender.name] = _turn(contender, start, size, ends_at)
            rate, p50_ms = turn["burst"]["requests_s"], turn["idle"]["p50_ms"]
            _say(f"  {contender.name}, {title}: {rate:.1f} requests/s, idle p50 {p50_ms:.1f} ms")
    return turns


def _turn(contender: Contender, start: str, size: Size, ends_at: float) -> dict[str, Any]:
    load = os.getloadavg()[0]
    burst = contender.burst(start, size.in_flight, ends_at=ends_at)
    return {"load": round(load, 2), "burst": burst, "idle": contender.singles(start, size.singles, ends_at=ends_at)}


def _say(text: str) -> None:
    click.echo(text, err=True)


def _figures(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, float]]]:
    return {
        name: [
            {one.name: turn["burst" if one.name in turn["burst"] else "idle"][one.name] for one in MEASURES}
            for turn in turns
        ]
        for name, turns in rounds.items()
    }
