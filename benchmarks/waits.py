"""``scripts/bench async``: collectors that wait, which is what sources mostly make them do, on one small worker."""

from __future__ import annotations

from typing import Any

from benchmarks.contender import PROCESSES, Contender, celery_flow
from benchmarks.report import Bars, Finding, Measured
from benchmarks.running import Benchmark
from benchmarks.turns import take_turns

WIDE, MANY = "benchmarks.flows.wide", "benchmarks.flows.waiting"
WAIT_S = 1.0
AIMS_S = {"one": 15.0, "many": 10.0}  # of a full run
WARM_UP = 5


def measure(quick: bool, ends_at: float) -> Measured:
    """Let one request of very many runs wait, and many of three."""
    runs, requests = (2_000, 200) if quick else (10_000, 1_000)
    wide, versions = one_request(runs, WAIT_S, ends_at=ends_at)
    many = many_requests(requests, ends_at=ends_at)
    aims = {} if quick else AIMS_S
    raw_s = raw_takes_s(runs)
    return Measured(
        findings=[
            Finding(f"{runs:,} async runs that wait {WAIT_S:.0f} s", wide["took_s"], "s", aims.get("one"), True),
            Finding("times as fast as a raw worker can be", raw_s / wide["took_s"]),
            Finding(f"{requests:,} requests x 3 such runs", many["took_s"], "s", aims.get("many"), True),
            Finding("times as fast as a raw worker can be", raw_takes_s(3 * requests) / many["took_s"]),
        ],
        details={"one_request": wide, "many_requests": many, "raw_s": raw_s},
        pictures=[
            Bars("One request", "s", {f"{runs:,} runs": wide["took_s"], "ideal": WAIT_S}),
            Bars("Many requests", "s", {f"{requests:,} x 3 runs": many["took_s"], "ideal": WAIT_S}),
        ],
        notes=[
            f"A raw prefork worker of {PROCESSES} needs {raw_s / 60:.0f} minutes for {runs:,} runs: computed, not run"
        ],
        versions=versions,
    )


def raw_takes_s(runs: int, wait_s: float = WAIT_S) -> float:
    """What a prefork worker needs at least, where each of its processes waits for one run at a time."""
    return runs * wait_s / PROCESSES


def one_request(runs: int, wait_s: float, *, ends_at: float) -> tuple[dict[str, Any], dict[str, str]]:
    """One request of so many runs, asked once before."""

    def ask(contender: Contender) -> dict[str, Any]:
        return contender.ask("ask", 1, ends_at=ends_at)

    env = {"BENCH_RUNS": str(runs), "BENCH_WAIT_S": str(wait_s)}
    found, versions = take_turns([celery_flow("ours", WIDE, env)], ask, ask, rounds=1, ends_at=ends_at)
    return dict(found["ours"][0]), dict(versions)


def many_requests(requests: int, *, ends_at: float) -> dict[str, Any]:
    """So many requests at once, of three runs and all stages."""
    flow = celery_flow("ours", MANY, {"BENCH_WAIT_S": str(WAIT_S)})
    found, _versions = take_turns(
        [flow],
        lambda contender: contender.burst("client", WARM_UP, ends_at=ends_at),
        lambda contender: contender.burst("client", requests, ends_at=ends_at),
        rounds=1,
        ends_at=ends_at,
    )
    return dict(found["ours"][0])


ASYNC = Benchmark("async", "async collectors that wait for a second, on one worker of two processes", measure)
