"""``scripts/bench wide``: one request of ten thousand trivial runs, from the call to its result, beside a raw chord."""

from __future__ import annotations

from typing import Any

from benchmarks.contender import Contender, celery_flow
from benchmarks.figures import medians
from benchmarks.report import Bars, Finding, Measured
from benchmarks.running import Benchmark
from benchmarks.turns import Rounds, take_turns

RAW, OURS = "benchmarks.flows.wide_raw", "benchmarks.flows.wide"
AIM = 8.0


def measure(quick: bool, ends_at: float) -> Measured:
    """Ask both in turn; each was asked once before, so that ours knows how long its runs take."""
    runs, rounds = (2_000, 2) if quick else (10_000, 3)
    found, versions = measure_runs(runs, rounds=rounds, ends_at=ends_at)
    middle = {name: medians(turns) for name, turns in found.items()}
    raw, ours = middle["raw"], middle["ours"]
    return Measured(
        findings=[
            Finding(f"{runs:,} runs, from call to result", raw["took_s"] / ours["took_s"], "×", AIM),
            Finding("the same, raw", raw["took_s"], "s"),
            Finding("the same, ours", ours["took_s"], "s"),
            Finding("CPU time of all processes", raw["cpu_s"] / ours["cpu_s"]),
        ],
        details={"runs": runs, "rounds": found},
        pictures=[
            Bars(f"One request of {runs:,} runs", "s from call to result", {n: m["took_s"] for n, m in middle.items()}),
            Bars("CPU time of all processes", "s", {n: m["cpu_s"] for n, m in middle.items()}),
        ],
        versions=versions,
    )


def measure_runs(runs: int, *, rounds: int, ends_at: float, ours_times: int = 1) -> tuple[Rounds, dict[str, str]]:
    """Both contenders' turns at one request of so many runs.

    Args:
        runs: In one request.
        rounds: How often each has its turn.
        ends_at: When to give up, on the monotonic clock.
        ours_times: How often ours asks in one turn, one request after another. A system counts CPU time in ticks of
            10 ms, which is no measure for what takes a few of them.

    Returns:
        What one request took, by contender and round; and the servers' versions.
    """

    def ask(contender: Contender) -> dict[str, float]:
        return asked(contender, ours_times if contender.name == "ours" else 1, ends_at=ends_at)

    env = {"BENCH_RUNS": str(runs)}
    flows = [celery_flow("raw", RAW, env), celery_flow("ours", OURS, env)]
    found, versions = take_turns(flows, ask, ask, rounds=rounds, ends_at=ends_at)
    return found, dict(versions)


def asked(contender: Any, times: int, *, ends_at: float) -> dict[str, float]:
    """Ask so often, one request after another; what one of them took."""
    return {name: taken / times for name, taken in contender.ask("ask", times, ends_at=ends_at).items()}


WIDE = Benchmark("wide", "one request of very many trivial runs, beside a raw chord", measure)
