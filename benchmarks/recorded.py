"""What the repository last recorded, and whether what is here is still as good: ``--quick --check`` and ``--record``.

Ratios to what one would use without this package, of CPU time where that is what counts: they hardly depend on the
machine or on what else it does. Above 1 is better, for all of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click
from redis import Redis
from rich.console import Console
from rich.table import Table

from benchmarks import memory, payload, start, waits, wide
from benchmarks.contender import Contender, TooSlow, celery_flow, running
from benchmarks.machine import busy, machine, versions
from benchmarks.peers.contenders import ours_and_raw
from benchmarks.report import number
from benchmarks.running import say
from benchmarks.servers import shared_servers
from benchmarks.turns import folder_and_servers, take_turns

RECORDED = Path(__file__).with_name("recorded.json")
LEAST_SHARE = 0.8
CHECK_S, AGAIN_S, RECORD_S = 140.0, 60.0, 560.0
RECORD_TIMES = 3

REQUESTS_S, WIDE_S = "requests/s", "a wide request, from call to result"
BY_THE_CLOCK = (REQUESTS_S, WIDE_S)
"""Told, but neither recorded nor held against anything: on a busy machine, what waits for its turn most loses most."""

Ratios = Mapping[str, float]


class Part(NamedTuple):
    """Something that is measured by itself, and gives one or several ratios.

    Attributes:
        name: Says in errors what was measured.
        measure: Measures until a time on the monotonic clock.
    """

    name: str
    measure: Callable[[float], Ratios]


def requests(ends_at: float) -> Ratios:
    """Requests of three trivial runs, started from the client, beside a raw chord."""

    def burst(count: int) -> Callable[[Contender], dict[str, float]]:
        def turn(contender: Contender) -> dict[str, float]:
            found = contender.burst("client", count, ends_at=ends_at)
            return {"each_s": 1 / found["requests_s"], "cpu_ms": sum(found["cpu_ms"].values())}

        return turn

    found, _versions = take_turns(ours_and_raw(), burst(20), burst(100), rounds=5, ends_at=ends_at)
    raw, ours = least(found["raw"]), least(found["ours"])
    return {"CPU time of a request": raw["cpu_ms"] / ours["cpu_ms"], REQUESTS_S: raw["each_s"] / ours["each_s"]}


def wide_request(ends_at: float) -> Ratios:
    """One request of 300 trivial runs, beside a raw chord."""
    found, _versions = wide.measure_runs(300, rounds=3, ends_at=ends_at, ours_times=40)
    raw, ours = least(found["raw"]), least(found["ours"])
    return {"CPU time of a wide request": raw["cpu_s"] / ours["cpu_s"], WIDE_S: raw["took_s"] / ours["took_s"]}


def least(turns: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Each figure's least over the rounds: whatever else runs on the machine adds to it, and never takes away.

    >>> least([{"cpu_s": 3.0}, {"cpu_s": 2.0}])
    {'cpu_s': 2.0}
    """
    return {name: min(turn[name] for turn in turns) for name in turns[0]}


def waiting(ends_at: float) -> Ratios:
    """One request of 200 async runs that wait for 4 s: mostly waiting, so that a busy machine hardly shows."""
    runs, wait_s = 200, 4.0
    found, _versions = waits.one_request(runs, wait_s, ends_at=ends_at)
    return {"async runs, beside what raw needs at least": waits.raw_takes_s(runs, wait_s) / found["took_s"]}


def large(ends_at: float) -> Ratios:
    """Three times 100,000 integers, beside a raw chord."""
    found, _versions = payload.measure_items(100_000, rounds=2, ends_at=ends_at)
    raw, ours = least(found["raw"]), least(found["ours"])
    return {
        "CPU time of 3 x 100,000 integers": raw["cpu_s"] / ours["cpu_s"],
        "peak memory of a worker process": raw["peak_mb"] / ours["peak_mb"],
    }


def stored(ends_at: float) -> Ratios:
    """What a finished request leaves in the ledger, beside the aim."""
    with (
        folder_and_servers(1) as (folder, both),
        running(celery_flow("ours", memory.OURS), both, number=0, folder=folder) as ours,
        Redis.from_url(both.database(0)) as client,
    ):
        ours.burst("client", 20, ends_at=ends_at)
        left = memory.bytes_left(ours, client, 100, ends_at)
    return {"memory of a finished request, aim / measured": memory.AIM_KB * memory.KB / sum(left.values())}


def imports(ends_at: float) -> Ratios:
    """Importing what an app imports, beside Celery's part of it."""
    found = start.measure_imports(12, ends_at=ends_at)
    return {"CPU time of the import": least(found["Celery"])["cpu_s"] / least(found["Collectors"])["cpu_s"]}


PARTS = (
    Part("requests", requests),
    Part("a wide request", wide_request),
    Part("async runs", waiting),
    Part("large values", large),
    Part("the ledger's memory", stored),
    Part("imports", imports),
)


def measure(parts: Sequence[Part], ends_at: float) -> tuple[dict[str, Ratios], dict[str, str]]:
    """Each part's ratios, and of those that there was no time for, why."""
    found: dict[str, Ratios] = {}
    missing = {}
    for part in parts:
        say(f"{part.name} …")
        try:
            found[part.name] = part.measure(ends_at)
        except TooSlow as error:
            missing[part.name] = str(error)
    return found, missing


def together(found: Mapping[str, Ratios]) -> dict[str, float]:
    """The ratios of all parts."""
    return {name: value for ratios in found.values() for name, value in ratios.items()}


def fallen(found: Ratios, recorded: Ratios) -> list[str]:
    """The ratios that are below the least share of what was recorded; what was not measured has not fallen.

    >>> fallen({"a": 0.79, "b": 0.81, "new": 0.1}, {"a": 1.0, "b": 1.0, "gone": 1.0})
    ['a']
    """
    return [name for name, value in recorded.items() if name in found and found[name] < LEAST_SHARE * value]


def better(one: Ratios, other: Ratios) -> dict[str, float]:
    """The better of two measurements: what other work on the machine took away is nobody's loss of speed.

    >>> better({"a": 1.0, "b": 2.0}, {"a": 3.0})
    {'a': 3.0, 'b': 2.0}
    """
    return {name: max(value, other.get(name, value)) for name, value in one.items()}


class Held(NamedTuple):
    """What was found, what has fallen all the same, and why something was not measured."""

    found: dict[str, float]
    fallen: list[str]
    missing: dict[str, str]


def hold(parts: Sequence[Part], recorded: Ratios, ends_at: float) -> Held:
    """Measure, and once more what has fallen."""
    by_part, missing = measure(parts, ends_at)
    found = together(by_part)
    if again := [part for part in parts if fallen(by_part.get(part.name, {}), recorded)]:
        say(f"below {LEAST_SHARE} x recorded, so measured once more: {', '.join(fallen(found, recorded))}")
        second, _missing = measure(again, ends_at + AGAIN_S)
        found = better(found, together(second))
    return Held(found, fallen(found, recorded), missing)


def check(*, as_json: bool) -> None:
    """Hold what is measured against what is recorded.

    Raises:
        ClickException: when a ratio is below the least share of what was recorded.
    """
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))["ratios"]
    began_at = time.monotonic()
    with shared_servers():
        held = hold(PARTS, recorded, began_at + CHECK_S)
    Console(stderr=as_json).print(_table(held.found, recorded))
    for name, why in held.missing.items():
        say(f"{name}: not measured: {why}")
    if as_json:
        click.echo(json.dumps({**held._asdict(), "recorded": recorded}))
    say(f"took {time.monotonic() - began_at:.0f} s")
    if held.fallen:
        raise click.ClickException(
            f"below {LEAST_SHARE} x what was recorded: {', '.join(held.fallen)}. Mend it; or, if it is meant, say why "
            "in the commit and record it: scripts/bench --quick --record"
        )


def record() -> None:
    """Measure several times, and write down the medians.

    Raises:
        ClickException: when something could not be measured.
    """
    ends_at = time.monotonic() + RECORD_S
    head: dict[str, Any] = {"machine": machine(), "busy": busy()}
    with shared_servers() as servers_are:
        tries = [measure(PARTS, ends_at) for _ in range(RECORD_TIMES)]
    whole = [together(found) for found, missing in tries if not missing]
    if not whole:
        raise click.ClickException(f"nothing is recorded: {tries[0][1]}")
    names = [name for name in whole[0] if name not in BY_THE_CLOCK]
    ratios = {name: round(median(found[name] for found in whole), 3) for name in names}
    said = {"ratios": ratios, "tries": len(whole), **head, "versions": versions() | servers_are}
    RECORDED.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    Console().print(_table(ratios, ratios))
    say(f"written: {RECORDED.name}")


def _table(found: Ratios, recorded: Ratios) -> Table:
    table = Table(title="Beside what the repository last recorded", title_justify="left")
    table.add_column("ratio, above 1 is better")
    for title in ("measured", "recorded", "share"):
        table.add_column(title, justify="right")
    table.add_column("")
    below = fallen(found, recorded)
    for name, value in found.items():
        before = recorded.get(name)
        cells = ("", "") if before is None else (number(before), f"{value / before:.2f}")
        table.add_row(name, number(value), *cells, "✗" if name in below else "✓" if before else "")
    return table
