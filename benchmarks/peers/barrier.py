"""A fan-in by hand, for queues that have none: the one whose result makes the list full has them all.

One round trip; not safe against a task that runs twice, or dies between its result and the next message.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.flows.work import SOURCES

TTL_S = 3600


async def arrived(redis: Any, request_id: str, found: list[int]) -> list[list[int]] | None:
    """Keep a collector's answer; return everybody's if it was the last.

    Args:
        redis: An asyncio client.
        request_id: Whose answer it is.
        found: The answer.
    """
    key = f"arrived:{request_id}"
    pipe = redis.pipeline(transaction=True)
    pipe.rpush(key, json.dumps(found))
    pipe.lrange(key, 0, -1)
    pipe.expire(key, TTL_S)
    count, answers, _kept = await pipe.execute()
    return [json.loads(answer) for answer in answers] if count == len(SOURCES) else None
