"""``scripts/bench payload``: three collectors of very many integers, and all stages: how fast, how lean, how far."""

from __future__ import annotations

from typing import Any

from benchmarks.contender import Contender, celery_flow
from benchmarks.figures import medians
from benchmarks.report import Bars, Finding, Measured
from benchmarks.running import Benchmark
from benchmarks.turns import Rounds, take_turns

RAW, OURS = "benchmarks.flows.payload_raw", "benchmarks.flows.payload"
FASTER, LEANER, PEAK_MB = 6.0, 0.3, 400.0
MANY = 30_000_000
RAW_DIES = "A raw chord dies silently at 3 x 6 million: measured once, not run here."


def measure(quick: bool, ends_at: float) -> Measured:
    """Beside raw with what raw can carry; and alone with thirty times as much."""
    items, rounds = (200_000, 2) if quick else (1_000_000, 3)
    found, versions = measure_items(items, rounds=rounds, ends_at=ends_at)
    much = {} if quick else measure_much(MANY, ends_at=ends_at)
    raw, ours = (medians(found[name]) for name in ("raw", "ours"))
    many = [
        Finding(f"3 x {MANY:,} integers, peak of a worker process", much["peak_mb"], "MB", PEAK_MB, at_most=True),
        Finding(f"3 x {MANY:,} integers complete in", much["took_s"], "s"),
    ] if much else []  # fmt: skip
    return Measured(
        findings=[
            Finding(f"3 x {items:,} integers, from call to result", raw["took_s"] / ours["took_s"], "×", FASTER),
            Finding("the same, raw", raw["took_s"], "s"),
            Finding("the same, ours", ours["took_s"], "s"),
            Finding("CPU time of all processes", raw["cpu_s"] / ours["cpu_s"]),
            Finding(
                "peak memory of a worker process", ours["peak_mb"] / raw["peak_mb"], "of raw's", LEANER, at_most=True
            ),
            *many,
        ],
        details={"items": items, "rounds": found, "much": much},
        pictures=[
            Bars(f"3 x {items:,} integers", "s from call to result", {"raw": raw["took_s"], "ours": ours["took_s"]}),
            Bars("Peak memory of the largest worker process", "MB", _peaks(raw, ours, much)),
        ],
        notes=[RAW_DIES],
        versions=versions,
    )


def _peaks(raw: dict[str, float], ours: dict[str, float], much: dict[str, Any]) -> dict[str, float]:
    alone = {f"ours, 3 x {MANY:,}": much["peak_mb"]} if much else {}
    return {"raw": raw["peak_mb"], "ours": ours["peak_mb"], **alone}


def measure_items(items: int, *, rounds: int, ends_at: float) -> tuple[Rounds, dict[str, str]]:
    """Both contenders' turns at so many integers from each of three collectors."""
    flows = [celery_flow(name, module, _env(items)) for name, module in (("raw", RAW), ("ours", OURS))]
    found, versions = take_turns(flows, _asking(ends_at), _asking(ends_at), rounds=rounds, ends_at=ends_at)
    return found, dict(versions)


def measure_much(items: int, *, ends_at: float) -> dict[str, Any]:
    """Ours alone, once."""
    flow = celery_flow("ours", OURS, _env(items))
    found, _versions = take_turns([flow], lambda _: {}, _asking(ends_at), rounds=1, ends_at=ends_at)
    return dict(found["ours"][0])


def _env(items: int) -> dict[str, str]:
    return {"BENCH_ITEMS": str(items)}


def _asking(ends_at: float) -> Any:
    def ask(contender: Contender) -> dict[str, Any]:
        return contender.ask("ask", 1, ends_at=ends_at) | {"peak_mb": contender.peak_mb()}

    return ask


PAYLOAD = Benchmark("payload", "three collectors of very many integers, through all stages, beside raw", measure)
