"""Three collectors of very many integers, through all stages: yielded, and read lazily, as the README has it.

No gathering is declared: it is there by default, and joins what was found without moving it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.flows.guest import DEADLINE_S, guest
from benchmarks.journal import WrongWork

ITEMS = int(os.environ["BENCH_ITEMS"])

app, collectors = guest()


def source(_topic: str) -> Iterator[int]:
    """Numbers, as many as the environment says."""
    yield from range(ITEMS)


for number in range(3):
    collectors.collector(name=f"source_{number}", timeout=DEADLINE_S)(source)


@collectors.cleanup
def cleanup(items: Iterable[Any]) -> Iterator[int]:
    """Drop what is not an integer."""
    return (item for item in items if isinstance(item, int))


@collectors.process
def process(items: Iterable[int]) -> list[int]:
    """Count and add up."""
    count = total = 0
    for item in items:
        count += 1
        total += item
    return [count, total]


def ask(times: int) -> dict[str, Any]:
    """Ask so often, one request after another; each answer is checked."""
    for _ in range(times):
        report = collectors.request("numbers", finish=DEADLINE_S).wait()
        if report.result != [3 * ITEMS, 3 * sum(range(ITEMS))]:
            raise WrongWork(f"3 x {ITEMS} integers ended {report.state} as {report.result}: {report.error}")
    return {}
