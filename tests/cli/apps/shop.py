"""An app whose sources do everything that sources do. The broker in its code does not exist."""

import asyncio
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from celery import Celery

from celery_collectors import Collectors, PermanentError

print("this must not get into anybody's JSON")
app = Celery("shop", broker="amqp://nobody:secret@127.0.0.1:1//")
collectors = Collectors(app)


@collectors.topic("fast:*")
def fast_topic(topic):
    if not topic[5:].isalpha():
        raise ValueError("letters must follow fast:, as in fast:food")
    return topic.lower()


@collectors.collector(topics=("fast:*", "sour:*"))
def quick(topic):
    """Answers at once.

    And this line is not for lists.
    """
    return [topic, "two"]


@collectors.collector(topics="fast:*", timeout=5, retries=1)
async def quick_too(topic):
    yield topic


@collectors.collector(topics="none:*")
def nothing(topic):
    return []


@collectors.collector(topics=("sour:*", "bad:*", "both:*"))
def sour(topic):
    raise PermanentError("refused \x1b]0;title\x07 and \x9b31m")


@collectors.collector(topics=("slow:*", "both:*"))
async def slow(topic):
    """Waits for a file to appear."""
    while not Path(topic.partition(":")[2]).exists():
        await asyncio.sleep(0.02)
    return ["at last"]


@collectors.collector(topics="mend:*")
def steady(topic):
    return ["steady"]


@collectors.collector(topics="mend:*", retries=0)
def mends(topic):
    """Fails until a file appears."""
    if not Path(topic.partition(":")[2]).exists():
        raise ConnectionError("reset by peer")
    return ["mended"]


@collectors.collector(topics="odd:*")
def odd(topic):
    """Items that JSON does not know, enough of them for several blobs."""
    yield {"price": Decimal("1.10"), "at": datetime(2026, 1, 2, tzinfo=UTC), "sign": "\x9b31m", "raw": b"raw"}
    for number in range(int(topic.partition(":")[2])):
        yield f"{number:0>1000}"


@collectors.collector(topics="stuck:*", timeout=120)
def stuck(topic):
    """Waits for a file, in a slot of its own."""
    while not Path(topic.partition(":")[2]).exists():
        time.sleep(0.02)
    return ["at last"]


@collectors.process
def summarise(items, report):
    if report.topic.startswith("odd:"):
        return sum(1 for _ in items)
    return {"items": list(items), "topic": report.topic, "sign": "\x9b31m [red]é"}
