"""A process that starts requests of one flow, as its standard input says: ``python -m benchmarks.sender MODULE``.

A line in is ``task 1000`` (by a message of the task ``collector_request``) or ``client 1000`` (from here); the line out
has the times before the first and after the last of them.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

TOPIC = "python"


def main(module: str) -> None:
    """Serve until the standard input ends."""
    collector_request: Any = importlib.import_module(module).collector_request
    starts: dict[str, Callable[[str], Any]] = {"task": collector_request.delay, "client": collector_request}
    for line in sys.stdin:
        start, count = line.split()
        began_at_s = time.time()
        for _ in range(int(count)):
            starts[start](TOPIC)
        print(json.dumps({"began_at_s": began_at_s, "sent_at_s": time.time()}), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main(sys.argv[1])
