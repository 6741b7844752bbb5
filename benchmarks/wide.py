"""``scripts/bench wide``: one request of ten thousand trivial runs, from the call to its result, beside a raw chord."""

from __future__ import annotations

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


def measure_runs(runs: int, *, rounds: int, ends_at: float) -> tuple[Rounds, dict[str, str]]:
    """Both contenders' turns at one request of so many runs."""

    def ask(contender: Contender) -> dict[str, float]:
        return contender.ask("ask", 1, ends_at=ends_at)

    env = {"BENCH_RUNS": str(runs)}
    flows = [celery_flow("raw", RAW, env), celery_flow("ours", OURS, env)]
    found, versions = take_turns(flows, ask, ask, rounds=rounds, ends_at=ends_at)
    return found, dict(versions)


WIDE = Benchmark("wide", "one request of very many trivial runs, beside a raw chord", measure)
