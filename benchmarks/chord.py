"""``scripts/bench chord``: main's workflow beside the same on Celery's own ``chord``.

Same broker, same Redis, same number of processes, same events; started the same way, by a message of the task
``collector_request`` and straight from the client. The contenders take turns within one run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contender import Contender, TooSlow, celery_flow, running
from benchmarks.figures import Measure, compare
from benchmarks.report import Bars, Finding, Measured
from benchmarks.running import Benchmark, say
from benchmarks.servers import Servers, servers
from benchmarks.tables import compared, processes

RAW, OURS = "benchmarks.flows.raw", "benchmarks.flows.ours"
FLOWS = (
    celery_flow("raw", RAW, options=["-E"]),
    celery_flow("each", OURS, {"BENCH_MESSAGES": "each"}, options=["-E"]),
    celery_flow("auto", OURS, {"BENCH_MESSAGES": "auto"}, options=["-E"]),
)
AIMS = {"each": 1.3, "auto": 2.0}
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
    """

    rounds: int
    in_flight: int
    singles: int


FULL = Size(rounds=3, in_flight=1000, singles=100)
QUICK = Size(rounds=1, in_flight=200, singles=30)
WARM_UP = 20

Rounds = dict[str, dict[str, list[dict[str, Any]]]]
"""By start and contender, its rounds."""


def measure(quick: bool, ends_at: float) -> Measured:
    """Run the contenders in turn, as often as there is time for."""
    size = QUICK if quick else FULL
    with ExitStack() as stack:
        both = stack.enter_context(servers(len(FLOWS)))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-bench-")))
        contenders = [stack.enter_context(one) for one in _contenders(both, folder)]
        rounds = _measure(contenders, size, ends_at)
        return _found(size, rounds, both.versions())


def _found(size: Size, rounds: Rounds, versions: dict[str, str]) -> Measured:
    found = {start: compare(_figures(turns), "raw", AIMS, MEASURES) for start, turns in rounds.items()}
    tables = [
        compared(f"{title}, {size.in_flight:,} in flight", found[start], MEASURES) for start, title in STARTS.items()
    ]
    return Measured(
        findings=[
            Finding(f"{name}, {STARTS[start]}: requests/s", one["ratios"]["requests_s"], "×", AIMS[name])
            for start, contenders in found.items()
            for name, one in contenders.items()
            if "ratios" in one
        ],
        details={"size": size._asdict(), "compared": found, "rounds": rounds},
        pictures=[
            Bars(title, "requests/s", {name: one["medians"]["requests_s"] for name, one in found[start].items()})
            for start, title in STARTS.items()
        ],
        tables=[*tables, processes(rounds, "raw")],
        versions=versions,
    )


def _contenders(both: Servers, folder: Path) -> Iterator[Any]:
    return (running(flow, both, number=number, folder=folder) for number, flow in enumerate(FLOWS))


def _measure(contenders: Sequence[Contender], size: Size, ends_at: float) -> Rounds:
    """Round after round, as many as there is time for; every contender has its turn at every start in each.

    Raises:
        TooSlow: when there was not even time for one.
    """
    for contender in contenders:
        for start in STARTS:
            contender.burst(start, WARM_UP, ends_at=ends_at)
    rounds: list[dict[str, dict[str, dict[str, Any]]]] = []
    for number in range(size.rounds):
        say(f"round {number + 1} of {size.rounds}")
        first = number % len(contenders)
        try:
            rounds.append(_round([*contenders[first:], *contenders[:first]], size, ends_at))
        except TooSlow as error:
            if not rounds:
                raise
            say(f"not counted: {error}")
            break
    return {start: {one.name: [turns[start][one.name] for turns in rounds] for one in contenders} for start in STARTS}


def _round(contenders: Sequence[Contender], size: Size, ends_at: float) -> dict[str, dict[str, dict[str, Any]]]:
    turns: dict[str, dict[str, dict[str, Any]]] = {start: {} for start in STARTS}
    for start, title in STARTS.items():
        for contender in contenders:
            turn = turns[start][contender.name] = _turn(contender, start, size, ends_at)
            rate, p50_ms = turn["burst"]["requests_s"], turn["idle"]["p50_ms"]
            say(f"  {contender.name}, {title}: {rate:.1f} requests/s, idle p50 {p50_ms:.1f} ms")
    return turns


def _turn(contender: Contender, start: str, size: Size, ends_at: float) -> dict[str, Any]:
    load = os.getloadavg()[0]
    burst = contender.burst(start, size.in_flight, ends_at=ends_at)
    return {"load": round(load, 2), "burst": burst, "idle": contender.singles(start, size.singles, ends_at=ends_at)}


def _figures(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, float]]]:
    return {
        name: [
            {one.name: turn["burst" if one.name in turn["burst"] else "idle"][one.name] for one in MEASURES}
            for turn in turns
        ]
        for name, turns in rounds.items()
    }


CHORD = Benchmark("chord", "main's workflow beside the same on Celery's own chord", measure)
