"""A project whose sources do what the topic says; its workers are processes of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery_collectors import Collectors, PermanentError
from tests.integration.apps import make_app

app = make_app("gallery")
collectors = Collectors(app, backoff_s=0.2)

NOTES = Path(os.environ.get("GALLERY_NOTES", "/nonexistent"))


@collectors.topic("strict:*")
def strict(topic: str) -> str:
    if not topic[7:].isalpha():
        raise ValueError("letters must follow strict:")
    (NOTES / "asked").touch()
    while "wait" in topic and not (NOTES / "gate").exists():
        time.sleep(0.02)
    return topic


@collectors.collector
def steady(topic: str) -> list[dict[str, Any]]:
    """Answers every topic."""
    return [{"from": "steady", "topic": topic, "text": "<script>alert(1)</script>"}]


@collectors.collector(topics="gated*", timeout=60)
def gated(topic: str) -> list[str]:
    """Waits for a file to appear."""
    while not (NOTES / "gate").exists():
        time.sleep(0.02)
    return ["through"]


@collectors.collector(topics="*mend*")
def mends(topic: str) -> list[str]:
    """Fails until a file appears."""
    if not (NOTES / "mended").exists():
        raise ConnectionError("reset by <b>peer</b>")
    return ["mended"]


@collectors.collector(topics="*permanent*", retries=3)
def permanent(topic: str) -> list[str]:
    raise PermanentError("the key was revoked")


@collectors.collector(topics="*flaky*", retries=5)
def flaky(topic: str) -> list[str]:
    """Fails, and is tried again."""
    raise ConnectionError("reset by peer")


@collectors.collector(topics="many*")
def many(topic: str) -> Iterator[str]:
    for number in range(3000):
        yield f"{number:0>1000}"


@collectors.collector(topics="*nothing*")
def nothing(topic: str) -> None:
    return None


@collectors.collector(topics="*hostile*")
def hostile(topic: str) -> list[Any]:
    """Gives what would act on a page that took it for more than text."""
    return [{"text": "</pre><script>alert(1)</script>"}, "\u202egnp.exe", "x" * 100_000]


def _wide(number: int) -> None:
    @collectors.collector(name=f"source {number:0>2}", topics="wide*")
    def wide(topic: str) -> list[int]:
        """One of a hundred."""
        if number % 9 == 4:
            raise ConnectionError(f"source {number} was reset by peer")
        time.sleep(number % 7 / 100)
        return list(range(number))


for _number in range(100):
    _wide(_number)


@app.task
def echo(*args: Any, **kwargs: Any) -> Any:
    """A task that is no collector, for chords."""
    return args


@collectors.collector(topics="huge*")
def huge(topic: str) -> list[str]:
    """One item that no page has room for."""
    return ["x" * 5_000_000]


@collectors.cleanup
def merge(items: Iterator[Any]) -> Iterator[Any]:
    yield from items


@collectors.process
def total(items: Iterator[Any]) -> dict[str, Any]:
    """Counts what arrived."""
    return {"items": sum(1 for _ in items)}
