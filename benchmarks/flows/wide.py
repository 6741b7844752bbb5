"""One request of very many runs: collectors declared in a loop, as many as the environment says, and asked together.

Those of the flow ``waiting`` wait for a second each, on the event loop; the others do nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any

from benchmarks.flows.guest import guest
from benchmarks.journal import WrongWork

RUNS = int(os.environ["BENCH_RUNS"])
WAIT_S = float(os.environ.get("BENCH_WAIT_S", "0"))

app, collectors = guest()


def source(topic: str) -> list[int]:
    """A source that answers at once."""
    return [len(topic)]


async def waiting(topic: str) -> list[int]:
    """A source that lets one wait."""
    await asyncio.sleep(WAIT_S)
    return [len(topic)]


for number in range(RUNS):
    collectors.collector(name=f"source_{number}")(waiting if WAIT_S else source)


@collectors.process
def process(items: Iterable[int]) -> int:
    """Add up what they found."""
    return sum(items)


def ask(times: int) -> dict[str, Any]:
    """Ask all of them so often, one request after another; each answer is checked."""
    topic = "wide"
    for _ in range(times):
        report = collectors.request(topic).wait()
        states = {str(outcome.state) for outcome in report.outcomes.values()}
        if report.result != len(topic) * RUNS or states != {"ok"} or str(report.state) != "complete":
            raise WrongWork(f"{RUNS} runs ended {report.state} ({', '.join(states)}), their sum is {report.result}")
    return {}
