"""``scripts/bench growth``: whether costs stay the same as the ledger fills, a request widens, workers are added."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import count, islice, pairwise
from statistics import median
from typing import Any, NamedTuple

from celery import Celery
from redis import Redis

from benchmarks.contender import Contender, TooSlow, celery_flow, environment, running, worker_of
from benchmarks.filling import fill
from benchmarks.report import Finding, Lines, Measured, Point
from benchmarks.running import Benchmark, say
from benchmarks.servers import Servers, shared_servers
from benchmarks.turns import folder_and_servers, summary, take_turns
from celery_collectors import Collectors

DECLARED, WIDE = "benchmarks.flows.declared", "benchmarks.flows.wide"
FLAT = 1.25  # the largest costs at most this many times the smallest
ENOUGH = 2
BURSTS = 3
WARM_UP, SETTLED_S, LOOK_S = 20, 3.0, 0.2
HOW = "Stored requests are made by the ledger's own verbs, called one after another as a worker does, without one"


class Size(NamedTuple):
    """How far it grows, and how much is measured at each step.

    Attributes:
        stored: Finished requests in the ledger.
        runs: Of a request.
        workers: That are idle.
        in_flight, singles: Requests at once and one after another, at each number of stored ones.
        wide: Runs in all, at each number of runs of a request.
        idle_s: How long idle workers are watched.
    """

    stored: Sequence[int]
    runs: Sequence[int]
    workers: Sequence[int]
    in_flight: int
    singles: int
    wide: int
    idle_s: float


FULL = Size((10, 100, 1_000, 10_000, 100_000), (10, 100, 1_000, 10_000), (1, 2, 4, 8), 200, 50, 2_000, 10.0)
QUICK = Size((10, 300, 3_000), (10, 100, 1_000), (1, 2, 4), 100, 20, 500, 4.0)


Steps = Mapping[int, Mapping[str, float]]
"""By how large it was, what was measured."""


class Part(NamedTuple):
    """One of the three things that grow.

    Attributes:
        name: Of its steps in the details.
        title: Of its picture.
        along: What there is more of.
        costs: By the name of a figure, what it is.
        measure: Measures each step, until a time on the monotonic clock.
        until: The share of the time after which the next one has its turn.
    """

    name: str
    title: str
    along: str
    costs: Mapping[str, str]
    measure: Callable[[Size, float], Steps]
    until: float


def measure(quick: bool, ends_at: float) -> Measured:
    """Let all three grow, as far as there is time for; one that could not is named, if another could.

    Raises:
        TooSlow: when none could.
    """
    size, began_at = QUICK if quick else FULL, time.monotonic()
    found: dict[str, Steps] = {}
    notes = [HOW]
    with shared_servers() as versions:
        for part in PARTS:
            try:
                found[part.name] = part.measure(size, began_at + part.until * (ends_at - began_at))
            except TooSlow as error:
                notes.append(f"{part.title}: not measured: {error}")
    if not found:
        raise TooSlow("; ".join(notes[1:]))
    parts = [part for part in PARTS if part.name in found]
    return Measured(
        findings=[_flat(part, found[part.name], name) for part in parts for name in part.costs],
        details={"size": size._asdict(), **found},
        pictures=[
            Lines(part.title, part.along, {name: _points(found[part.name], name) for name in part.costs})
            for part in parts
        ],
        notes=notes,
        versions=versions,
    )


def flatness(steps: Steps, name: str) -> float:
    """How many times the smallest step's cost the largest one's is.

    >>> flatness({10: {"ms": 2.0}, 100: {"ms": 9.0}, 1000: {"ms": 3.0}}, "ms")
    1.5
    """
    return steps[max(steps)][name] / steps[min(steps)][name]


def _flat(part: Part, steps: Steps, name: str) -> Finding:
    span = f"{max(steps):,} {part.along} beside {min(steps):,}"
    return Finding(f"{part.costs[name]}: {span}", flatness(steps, name), "times", FLAT, at_most=True)


def _points(steps: Steps, name: str) -> list[Point]:
    return [(size, found[name]) for size, found in steps.items()]


def grown(sizes: Sequence[int], measure_one: Callable[[int], Mapping[str, float]], what: str) -> Steps:
    """Measure at every size, as far as there is time for.

    Raises:
        TooSlow: when there was none for two of them, between which something could grow.
    """
    found: dict[int, Mapping[str, float]] = {}
    for size in sizes:
        try:
            found[size] = measure_one(size)
        except TooSlow as error:
            if len(found) < ENOUGH:
                raise
            say(f"no time for {size:,} {what}: {error}")
            break
        say(f"  {size:,} {what}: {summary(found[size])}")
    return found


def in_a_full_ledger(size: Size, ends_at: float) -> Steps:
    """What a request costs as the ledger fills up."""
    with (
        folder_and_servers(1) as (folder, both),
        running(celery_flow("ours", DECLARED), both, number=0, folder=folder) as ours,
    ):
        ours.burst("client", WARM_UP, ends_at=ends_at)
        missing = [later - earlier for earlier, later in pairwise((0, *size.stored))]

        def fill_and_ask(stored: int) -> Mapping[str, float]:
            fill(both.database(0), missing[size.stored.index(stored)], ends_at=ends_at)
            return _requests(ours, size, ends_at)

        return grown(size.stored, fill_and_ask, "stored requests")


def _requests(ours: Contender, size: Size, ends_at: float) -> dict[str, float]:
    # After a long fill the first burst is a tenth dearer in every process, also in those that know of no ledger.
    bursts = [ours.burst("client", size.in_flight, ends_at=ends_at) for _ in range(BURSTS)]
    idle = ours.singles("client", size.singles, ends_at=ends_at)
    return {"cpu_ms": median(sum(burst["cpu_ms"].values()) for burst in bursts), "p50_ms": idle["p50_ms"]}


def in_wide_requests(size: Size, ends_at: float) -> Steps:
    """What a run costs as a request gets wider."""

    def ask_all(runs: int) -> Mapping[str, float]:
        times = max(1, size.wide // runs)
        flow = celery_flow("ours", WIDE, {"BENCH_RUNS": str(runs)})
        turns, _versions = take_turns(
            [flow],
            lambda contender: contender.ask("ask", 1, ends_at=ends_at),
            lambda contender: contender.ask("ask", times, ends_at=ends_at),
            rounds=1,
            ends_at=ends_at,
        )
        (turn,) = turns["ours"]
        return {f"{name}_ms": turn[f"{name}_s"] * 1000 / (runs * times) for name in ("cpu", "took")}

    return grown(size.runs, ask_all, "runs")


def with_idle_workers(size: Size, ends_at: float) -> Steps:
    """What Redis does each second while so many workers of one app have nothing to do."""
    with folder_and_servers(1) as (folder, both), ExitStack() as stack:
        app = Celery("bench", broker=both.broker_url, backend=both.database(0))
        collectors = Collectors(app)
        stack.callback(collectors.close)
        numbers = count()

        def start_and_watch(workers: int) -> Mapping[str, float]:
            for number in islice(numbers, workers - len(collectors.workers())):
                flow = celery_flow(f"idle{number}", DECLARED)
                env = environment(flow, both, number=0, folder=folder) | {"BENCH_QUEUE": "bench.idle"}
                stack.enter_context(worker_of(flow, env, folder))
            _await_workers(collectors, workers, ends_at)
            time.sleep(SETTLED_S)
            return _watched(both, size.idle_s)

        return grown(size.workers, start_and_watch, "idle workers")


def _await_workers(collectors: Collectors, number: int, ends_at: float) -> None:
    while len(collectors.workers()) < number:
        if time.monotonic() > ends_at:
            raise TooSlow(f"{number} workers had not started when the time was over")
        time.sleep(LOOK_S)


def _watched(both: Servers, seconds: float) -> dict[str, float]:
    with Redis.from_url(both.database(0)) as client:
        before, began_at = _used(client), time.monotonic()
        time.sleep(seconds)
        after, took_s = _used(client), time.monotonic() - began_at
    return {name: (after[name] - before[name]) / took_s for name in after}


def _used(client: Any) -> dict[str, float]:
    said = client.info()
    cpu_s = said["used_cpu_user"] + said["used_cpu_sys"]
    return {"redis_ms_s": cpu_s * 1000, "commands_s": float(said["total_commands_processed"])}


PARTS = (
    Part(
        "idle",
        "Redis, each second, while workers are idle",
        "workers",
        {"redis_ms_s": "Redis's CPU time for idle workers", "commands_s": "Redis's commands for idle workers"},
        with_idle_workers,
        0.3,
    ),
    Part(
        "runs",
        "A run of a wide request",
        "runs of a request",
        {"cpu_ms": "CPU time of a run", "took_ms": "time of a run"},
        in_wide_requests,
        0.55,
    ),
    Part(
        "stored",
        "A request in a full ledger",
        "stored requests",
        {"cpu_ms": "CPU time of a request", "p50_ms": "idle latency of a request, p50"},
        in_a_full_ledger,
        1.0,
    ),
)
GROWTH = Benchmark("growth", "whether costs stay the same as the ledger, a request and the fleet grow", measure)
