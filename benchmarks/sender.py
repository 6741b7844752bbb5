"""A process that asks for one flow, as its standard input says: ``python -m benchmarks.sender MODULE PARENT``.

A line in is ``task 1000`` (ask so often by a message of the task ``collector_request``), ``client 1000`` (from here),
or ``NAME 1000``, which calls the module's function ``NAME`` with that number; the line out has the times before the
first and after the last, and what such a function returned. Imports nothing that a contender's environment may lack.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

TOPIC = "python"
LOOK_S = 0.5


def main(module: str, parent: int) -> None:
    """Serve until the standard input ends, or the process that started this one does."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    flow: Any = importlib.import_module(module)
    with _loop() as run:
        for line in sys.stdin:
            way, count = line.split()
            began_at_s = time.time()
            found = _asked(flow, way, int(count), run)
            times = {"began_at_s": began_at_s, "sent_at_s": time.time()}
            print(json.dumps({**found, **times}), file=sys.__stdout__, flush=True)


def _asked(flow: Any, way: str, count: int, run: Callable[[Any], Any]) -> dict[str, Any]:
    if way not in ("task", "client"):
        found: dict[str, Any] = getattr(flow, way)(count)
        return found
    ask = flow.collector_request.delay if way == "task" else flow.collector_request
    if inspect.iscoroutinefunction(ask):
        run(_one_after_another(ask, count))
    else:
        for _ in range(count):
            ask(TOPIC)
    return {}


async def _one_after_another(ask: Callable[[str], Any], count: int) -> None:
    for _ in range(count):
        await ask(TOPIC)


@contextmanager
def _loop() -> Iterator[Callable[[Any], Any]]:
    """One event loop for all, because a contender's connections belong to it."""
    with asyncio.Runner() as runner:
        yield runner.run


def _end_with(parent: int) -> None:
    """Do not outlive the benchmark, not even one that is killed while this process waits for an answer."""
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)


if __name__ == "__main__":
    sys.stdout = sys.stderr  # what a flow prints is no answer
    main(sys.argv[1], int(sys.argv[2]))
