"""``scripts/bench peers``: the same work on every task queue that one might take instead, each in its best form.

A contender's worker runs only while it has its turn: some of them keep a core warm while they wait.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.table import Table

from benchmarks.contender import Contender, Flow, TooSlow, running
from benchmarks.figures import Measure, medians, ratio
from benchmarks.journal import WrongWork
from benchmarks.peers.contenders import ACKS, PEERS, ours_and_raw
from benchmarks.report import Bars, Finding, Measured, number
from benchmarks.running import Benchmark, say
from benchmarks.servers import Servers
from benchmarks.turns import Rounds, folder_and_servers, in_rounds
from benchmarks.venvs import NotInstalled, version_of

MEASURES = (
    Measure("requests_s", "requests/s", True),
    Measure("p50_ms", "idle p50, ms", False),
    Measure("p95_ms", "idle p95, ms", False),
    Measure("cpu_ms", "CPU, ms each", False),
)
WARM_UP = 20
TURN_S = 60.0  # so that a peer that hangs does not take the others' time
BY_TASK = ("raw", "ours")


class Size(NamedTuple):
    """How much is measured: rounds, requests put in at once, and one after another."""

    rounds: int
    in_flight: int
    singles: int


FULL, QUICK = Size(2, 1000, 100), Size(1, 200, 20)


class Place(NamedTuple):
    """A contender that is started for its turn.

    Attributes:
        name: Its name.
        flow: What it runs.
        start: By message of a task, or straight from the client.
    """

    name: str
    flow: Flow
    start: str = "client"


def measure(quick: bool, ends_at: float) -> Measured:
    """Let every contender that can be had take its turns; installing is no time of theirs."""
    size = QUICK if quick else FULL
    began_at = time.monotonic()
    places, missing = installed()
    ends_at += time.monotonic() - began_at
    found, servers_are = measure_places(places, size, missing, ends_at=ends_at)
    by_name = {name: medians([_numbers(turn) for turn in turns]) for name, turns in found.items() if turns}
    return Measured(
        findings=findings(by_name),
        details={"size": size._asdict(), "rounds": found, "missing": missing, "acks": acks()},
        pictures=[
            Bars(f"{one.title}, {size.in_flight:,} in flight", one.title, {n: m[one.name] for n, m in by_name.items()})
            for one in MEASURES
        ],
        tables=[peers_table(f"{size.in_flight:,} in flight, 2 worker processes", by_name)],
        notes=[f"{name} was not measured: {why}" for name, why in missing.items()],
        versions={**servers_are, **{one.distribution: version_of(one.package, one.distribution) for one in PEERS}},
    )


def installed() -> tuple[list[Place], dict[str, str]]:
    """The contenders that can be had, and of the others why not."""
    raw, ours = ours_and_raw()
    places = [Place("raw", raw), Place("ours", ours)]
    missing = {}
    for peer in PEERS:
        say(f"installing {peer.package}, if it is not there")
        try:
            places.append(Place(peer.name, peer.flow()))
        except NotInstalled as error:
            missing[peer.name] = str(error)
    return [*places, Place("raw, by task", raw, "task"), Place("ours, by task", ours, "task")], missing


def measure_places(
    places: Sequence[Place], size: Size, missing: dict[str, str], *, ends_at: float
) -> tuple[Rounds, Mapping[str, str]]:
    """Every one's turns; a peer that fails at its turn is put among those missing, and does not stop the others."""
    flows = list(dict.fromkeys(place.flow.name for place in places))
    with folder_and_servers(len(flows)) as (_folder, both):

        def turn(place: Place) -> dict[str, Any]:
            if place.name in missing:
                return {}
            try:
                with _started(place, both, flows.index(place.flow.name)) as contender:
                    limit_s = math.inf if place.flow.name in ACKS else TURN_S
                    return _turn(contender, place.start, size, min(ends_at, time.monotonic() + limit_s))
            except (TooSlow, WrongWork, click.ClickException) as error:
                if place.flow.name in ACKS or time.monotonic() > ends_at:
                    raise
                missing[place.name] = str(error)
                say(f"  {place.name} is left out: {error}")
                return {}

        found = in_rounds(places, turn, rounds=size.rounds, ends_at=ends_at)
        return {name: turns for name, turns in found.items() if name not in missing}, both.versions()


@contextmanager
def _started(place: Place, both: Servers, number: int) -> Iterator[Contender]:
    with (
        tempfile.TemporaryDirectory(prefix="cc-bench-", ignore_cleanup_errors=True) as folder,
        running(place.flow, both, number=number, folder=Path(folder)) as contender,
    ):
        yield contender


def _turn(contender: Contender, start: str, size: Size, ends_at: float) -> dict[str, Any]:
    load = os.getloadavg()[0]
    contender.burst(start, WARM_UP, ends_at=ends_at)
    burst = contender.burst(start, size.in_flight, ends_at=ends_at)
    idle = contender.singles(start, size.singles, ends_at=ends_at)
    return {
        "requests_s": burst["requests_s"],
        "p50_ms": idle["p50_ms"],
        "p95_ms": idle["p95_ms"],
        "cpu_ms": sum(burst["cpu_ms"].values()),
        "load": load,
        "burst": burst,
        "idle": idle,
    }


def _numbers(turn: Mapping[str, Any]) -> dict[str, float]:
    return {one.name: turn[one.name] for one in MEASURES}


def findings(found: Mapping[str, Mapping[str, float]]) -> list[Finding]:
    """What the aims are about: ours beside raw, from both starts, and beside the best of the peers."""
    ours, raw = found["ours"], found["raw"]
    peers = {peer.name: found[peer.name]["requests_s"] for peer in PEERS if peer.name in found}
    best = max(peers, key=lambda name: peers[name], default=None)
    beside_best = [] if best is None else [
        Finding(f"requests/s beside the best peer, {best}", ours["requests_s"] / peers[best], "×", 1.3)
    ]  # fmt: skip
    by_task = found["ours, by task"]["requests_s"] / found["raw, by task"]["requests_s"]
    return [
        Finding("requests/s, started from the client", ours["requests_s"] / raw["requests_s"], "×", 5.0),
        *beside_best,
        Finding("requests/s, started by the task collector_request", by_task, "×", 4.0),
        Finding("CPU time of a request", raw["cpu_ms"] / ours["cpu_ms"]),
        Finding("idle p50", ours["p50_ms"] / raw["p50_ms"], "of raw's", 0.3, at_most=True),
        Finding("idle p95", ours["p95_ms"] / raw["p95_ms"], "of raw's", 0.4, at_most=True),
    ]


def acks() -> dict[str, str]:
    """By contender, what its acknowledgements are worth."""
    return ACKS | {peer.name: peer.acks for peer in PEERS}


def peers_table(title: str, found: Mapping[str, Mapping[str, float]]) -> Table:
    """Each contender's medians, how many times as good as raw that is, and what a kill costs."""
    table = Table(title=title, title_justify="left", caption="× above 1 is better than raw, of the same start")
    table.add_column("")
    for one in MEASURES:
        table.add_column(one.title, justify="right")
        table.add_column("×", justify="right")
    table.add_column("acknowledged")
    for name, mine in found.items():
        start = ", by task" if name.endswith(", by task") else ""
        base = found[f"raw{start}"]
        cells = [
            cell
            for one in MEASURES
            for cell in (
                number(mine[one.name]),
                "" if mine is base else f"{ratio(one, mine[one.name], base[one.name]):.2f}",
            )
        ]
        table.add_row(name, *cells, acks()[name.removesuffix(start)])
    return table


PEERS_BENCH = Benchmark("peers", "the same work on other task queues, each in its best form", measure)
