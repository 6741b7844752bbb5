"""A project whose sources misbehave on request; the topic's first word says how. Its workers are real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
from celery._state import _task_stack

from celery_collectors import Collectors, PermanentError, current
from tests.integration.apps import make_app

app = make_app("engine_app")
collectors = Collectors(app, backoff_s=0.1)

NOTES = Path(os.environ.get("ENGINE_APP_NOTES", "/nonexistent"))


def note(word: str) -> int:
    """Append a word to this test's notes, and return how often it stands there now."""
    with (NOTES / word).open("ab", buffering=0) as notes:
        notes.write(b".")
    return (NOTES / word).stat().st_size


def die() -> None:
    """What the kernel does to a process that eats too much."""
    os.kill(os.getpid(), signal.SIGKILL)


def block_until(word: str) -> None:
    """Wait until the test writes a file of this name."""
    note(f"{word}-waits")
    while not (NOTES / word).exists():
        time.sleep(0.02)


@collectors.collector
def steady(topic: str) -> list[dict[str, Any]]:
    """Answers every topic."""
    note("steady")
    return [{"from": "steady", "topic": topic}]


@collectors.collector(topics="raise*", retries=1)
def raises(topic: str) -> list[str]:
    note("raises")
    raise ValueError("no such feed")


@collectors.collector(topics="flaky*", retries=2)
def flaky(topic: str) -> list[str]:
    if note("flaky") < 3:
        raise ConnectionError("reset by peer")
    return ["third time lucky"]


@collectors.collector(topics="sleep*", timeout=60)
def sleeps_in_c(topic: str) -> list[str]:
    """Waits where no exception gets to it."""
    (NOTES / "sleeps-in").write_text(str(os.getpid()))
    time.sleep(3600)
    return []


@collectors.collector(topics="mend*", retries=0)
def mends(topic: str) -> list[str]:
    """Fails until the test mends it."""
    note("mends")
    if not (NOTES / "mended").exists():
        raise ConnectionError("reset by peer")
    return ["mended"]


@collectors.collector(topics="token*", retries=2)
def tells_its_token(topic: str) -> list[list[int]]:
    here = current()
    with (NOTES / "tokens").open("a") as tokens:
        tokens.write(f"{here.generation} {here.attempt}\n")
    if not (NOTES / "gate").exists():
        raise ConnectionError("reset by peer")
    return [[here.generation, here.attempt]]


@collectors.collector(topics="permanent*", retries=5)
def permanent(topic: str) -> list[str]:
    note("permanent")
    raise PermanentError("the key was revoked")


@collectors.collector(topics="die*")
def dies_once(topic: str) -> list[str]:
    if note("dies") == 1:
        die()
    return ["second life"]


@collectors.collector(topics="nothing*")
def nothing(topic: str) -> None:
    return None


@collectors.collector(topics=["gated*", "* gated"], timeout=60)
def gated(topic: str) -> list[str]:
    block_until("gate")
    return ["through"]


@collectors.collector(topics="agated*", timeout=60)
async def agated(topic: str) -> list[str]:
    note("agate-waits")
    while not (NOTES / "agate").exists():
        await anyio.sleep(0.02)
    return ["through"]


@collectors.collector(topics="async*")
async def generates(topic: str, request_id: str) -> AsyncIterator[dict[str, Any]]:
    for number in range(3):
        await anyio.sleep(0.01)
        yield {"number": number, "request_id": request_id, "attempt": current().attempt}


@collectors.collector(topics="async*", timeout=1)
async def async_hangs(topic: str) -> list[str]:
    await anyio.sleep(3600)
    return []


@collectors.collector(topics="async*")
async def async_raises(topic: str) -> list[str]:
    raise ValueError("no such feed")


@collectors.collector(topics="big*")
def big(topic: str) -> Iterator[str]:
    for number in range(2000):
        yield f"{number:0>1000}"


@collectors.collector(topics="second*", timeout=30)
async def one_second(topic: str) -> list[int]:
    await anyio.sleep(1)
    return [1]


def misbehave(stage: str, topic: str) -> None:
    """Die once, raise or wait at a gate in this stage, if the topic asks for it."""
    times = note(stage)
    if f"{stage}-dies" in topic and times == 1:
        die()
    if f"{stage}-raises" in topic:
        raise ValueError(f"can not do the {stage}")
    if f"{stage}-gated" in topic:
        block_until("gate")


@collectors.gathering
def join(results: Iterator[list[Any]], topic: str) -> Iterator[Any]:
    """Puts all runs' items into one row."""
    misbehave("gathering", topic)
    for items in results:
        yield from items


@collectors.cleanup
def merge(items: Iterator[Any], topic: str) -> Iterator[Any]:
    """Passes everything on."""
    misbehave("cleanup", topic)
    yield from items


@collectors.process
def total(items: Iterator[Any], report: Any, topic: str, request_id: str) -> dict[str, Any]:
    """Counts what arrived."""
    misbehave("process", topic)
    return {"items": sum(1 for _ in items), "request_id": request_id, "asked": sorted(report.outcomes)}


@collectors.collector(topics="currents*")
def currents(topic: str) -> list[int]:
    """How many current tasks Celery remembers in this process, over all threads."""
    return [sum(len(kept["stack"]) for kept in _task_stack._local.__storage__.values())]


@app.task
def add(x: int, y: int) -> int:
    """A task that is none of ours."""
    return x + y


@collectors.collector(topics="short*")
def short(topic: str) -> list[int]:
    time.sleep(0.02)
    note("short")
    return [1]
