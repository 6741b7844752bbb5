"""A project whose processes die where the environment says; the client that asks it may die, too."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio

from celery_collectors import ChordResult, Collectors, chord, current
from tests.faults.crash_points import FOLDER, Crash
from tests.integration.apps import make_app

env: Mapping[str, str] = globals().get("env", os.environ)  # of its own where many copies live in one process
app = make_app("dying_app", env)
collectors = Collectors(app)
crash = Crash(env)
LINES = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(300)]  # too large to stay in the ledger


def note(word: str, what: str = "") -> None:
    """Append a line to this app's notes; a short one is written whole or not at all."""
    with Path(env[FOLDER], word).open("ab", buffering=0) as notes:
        notes.write(f"{what}\n".encode())


@collectors.collector(topics="dying*")
def small(topic: str) -> list[str]:
    note("collector")
    crash.here("in the collector")
    return ["small"]


@collectors.collector(topics="dying*")
def large(topic: str) -> Iterator[str]:
    note("collector")
    crash.here("in the middle of a pack")
    yield from LINES


def brief(topic: str) -> list[str]:
    """One of two whose items stay in the ledger, also together."""
    note("collector")
    return ["small"]


for _number in range(2):
    collectors.collector(name=f"brief{_number}", topics="brief")(brief)


@collectors.collector(topics="async")
async def asynchronous(topic: str) -> list[str]:
    note("collector")
    await anyio.sleep(0.1)  # its message is acknowledged by now
    crash.here("in a coroutine")
    return ["small", *LINES]


def slow(topic: str) -> list[str]:
    """One of several sources that take a moment."""
    time.sleep(0.2)
    return ["small"]


for _number in range(3):
    collectors.collector(name=f"slow{_number}", topics="storm")(slow)


@collectors.collector(topics="storm")
async def slow_and_large(topic: str) -> list[str]:
    await anyio.sleep(0.1)
    return LINES


def many(topic: str) -> list[str]:
    """One of a thousand."""
    context = current()
    assert context is not None
    note("many", context.name)
    return [context.name]


for _number in range(int(env.get("DYING_APP_MANY", "0"))):
    collectors.collector(name=f"many{_number}", topics="many")(many)


@collectors.gathering
def join(results: Iterator[list[str]]) -> Iterator[str]:
    note("gathering")
    crash.here("in the gathering")
    for items in results:
        yield from items


@collectors.cleanup
def merge(items: Iterator[str]) -> Iterator[str]:
    note("cleanup")
    crash.here("in the cleanup")
    yield from items


@collectors.process
def total(items: Iterator[str]) -> dict[str, Any]:
    note("process")
    crash.here("in the process")
    crash.here("in the last of several stages")
    return summary(items)


def summary(items: Iterable[str]) -> dict[str, Any]:
    """What tells right items from wrong ones, in whatever order they came."""
    found = sorted(items)
    return {"items": len(found), "digest": hashlib.sha256(json.dumps(found).encode()).hexdigest()}


@app.task
def member(start: int, stop: int) -> list[str]:
    note("collector")
    crash.here("in the collector")
    return ["small", *LINES][start:stop]


@app.task
def callback(results: list[list[str]]) -> dict[str, Any]:
    note("gathering")
    crash.here("in the gathering")
    return summary(item for items in results for item in items)


def ask_chord(deadline_s: float = 150.0) -> ChordResult:
    """The same as plain tasks."""
    result = chord([member.s(0, 1), member.s(1, 301)], deadline=deadline_s)(callback.s())
    assert isinstance(result, ChordResult)
    return result


@app.task
def counted(number: int) -> int:
    note("many", str(number))
    return number


@app.task
def count(numbers: list[int]) -> int:
    return len(set(numbers))


def ask_many(runs: int, deadline_s: float = 150.0) -> None:
    """As many plain tasks at once."""
    chord([counted.s(number) for number in range(runs)], deadline=deadline_s)(count.s())
