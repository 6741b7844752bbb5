"""A project that collects more than fits in a message: how much, and what goes wrong, says the topic."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from celery import current_task

from celery_collectors import Collectors
from tests.integration.apps import make_app

app = make_app("payload_app")
collectors = Collectors(app, backoff_s=0.1, lease_s=2, renew_s=0.5, sweep_s=0.2)

NOTES = Path(os.environ.get("PAYLOAD_APP_NOTES", "/nonexistent"))
ROW = "0123456789abcdef" * 64


def note(word: str) -> int:
    """Append a word to this test's notes, and return how often it stands there now."""
    with (NOTES / word).open("ab", buffering=0) as notes:
        notes.write(b".")
    return (NOTES / word).stat().st_size


def note_whole(word: str, value: Any) -> None:
    """Note what was given, so that it is there whole or not at all."""
    beside = NOTES / f"{word}.part"
    beside.write_text(repr(value))
    beside.rename(NOTES / f"noted-{word}")


def rows(count: int) -> Iterator[str]:
    """So many kilobytes, of which none is like another."""
    for number in range(count):
        yield f"{number:08}{ROW}"


@collectors.collector(topics="rows*", timeout=60)
def first(topic: str) -> Iterator[str]:
    """``rows N``; with another word it comes to a bad end after that."""
    yield from rows(int(topic.split()[1]))
    if "raises" in topic:
        raise ConnectionError("reset by peer")
    if "dies" in topic and note("died") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if "waits" in topic:
        note("waits")
        while not (NOTES / "gate").exists():
            time.sleep(0.02)
    if "stuck" in topic:
        note("stuck")
        time.sleep(3600)


@collectors.collector(topics="rows*")
def second(topic: str) -> Iterator[str]:
    yield from rows(int(topic.split()[1]))


@collectors.collector(topics="rows*")
async def third(topic: str) -> AsyncIterator[str]:
    for row in rows(int(topic.split()[1])):
        yield row


@collectors.collector(topics="called")
def tries_again(topic: Any, request_id: str) -> list[Any]:
    """Called plainly only: it asks to be tried again once, and notes what it was given then."""
    if not current_task.request.retries:
        raise tries_again.retry(countdown=0)
    note_whole(request_id, topic)
    return []


def numbers(topic: str) -> Iterator[int]:
    """``numbers N``."""
    yield from range(int(topic.split()[1]))


for name in ("one", "two", "three"):
    collectors.collector(numbers, name=name, topics="numbers*", timeout=300)


@collectors.collector(topics="unfit*")
def unfit(topic: str) -> list[Any]:
    return ["fine", object()]


@collectors.cleanup
def clean(items: Iterator[Any]) -> Iterator[Any]:
    """Passes everything on, one by one."""
    yield from (item for item in items if item is not None)


@collectors.process
def count(items: Iterator[Any], topic: str, request_id: str = "") -> Any:
    """How many there are; or all of them. Called plainly, it notes what it was given."""
    if topic == "noted":
        note_whole(request_id, list(items))
        return None
    return list(items) if "all" in topic else sum(1 for _ in items)


@app.task
def make(size: int) -> list[int]:
    """A task that is none of ours, whose result is another's argument."""
    return list(range(size))
