"""The work of a request, as plain functions for whatever runs it: three trivial sources, gathering, cleanup, process.

Each says in its log what main's task of that name says, and that is the journal. Nothing but the standard library, for
the environments of other task queues.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterable
from typing import Any

from benchmarks.journal import write_from

log = logging.getLogger(__name__)
write_from(log, os.environ.get("BENCH_JOURNAL"))

SOURCES = ("collector_1", "collector_2", "collector_3")


def collected(name: str, topic: str, request_id: str) -> list[int]:
    """A source's answer: between 1 and 10 random integers."""
    found = [random.randint(0, 100) for _ in range(random.randint(1, 10))]
    log.info("[%s] %s found %d items about %r", request_id, name, len(found), topic)
    return found


def gathered(results: Iterable[Iterable[int]], request_id: str) -> list[int]:
    """The sources' lists as one."""
    joined = [item for result in results for item in result]
    log.info("[%s] gathered %d items", request_id, len(joined))
    return joined


def cleaned(data: Iterable[Any], request_id: str) -> list[int]:
    """What is an integer."""
    items = list(data)
    kept = [item for item in items if isinstance(item, int) and not isinstance(item, bool)]
    log.info("[%s] cleaned up: %d of %d items dropped", request_id, len(items) - len(kept), len(items))
    return kept


def processed(data: Iterable[int], request_id: str) -> dict[str, Any]:
    """How much there is."""
    count = sum(1 for _ in data)
    log.info("[%s] processed %d items", request_id, count)
    return {"request_id": request_id, "item_count": count}
