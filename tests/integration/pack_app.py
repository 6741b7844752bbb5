"""A project of collectors that share messages; some misbehave, as their names and the topic's words say."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio

from celery_collectors import Collectors, current
from tests.integration.apps import make_app

app = make_app("pack_app")
collectors = Collectors(app, backoff_s=0.1, lease_s=2, renew_s=0.5, sweep_s=0.2)

NOTES = Path(os.environ.get("ENGINE_APP_NOTES", "/nonexistent"))
LACKS = os.environ.get("PACK_APP_LACKS", "").split(",")
CROWD = 300


def note(word: str, what: str = "") -> int:
    """Append a line to this test's notes, and return how many stand there now."""
    with (NOTES / word).open("ab", buffering=0) as notes:
        notes.write(f"{os.getpid()} {what}\n".encode())
    return (NOTES / word).read_bytes().count(b"\n")


def block_until(word: str) -> None:
    """Wait until the test writes a file of this name."""
    note(f"{word}-waits")
    while not (NOTES / word).exists():
        time.sleep(0.02)


def declared(name: str, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare a collector under a name, unless this worker's code is an older one that lacks it."""

    def declare(function: Callable[..., Any]) -> Any:
        return function if name in LACKS else collectors.collector(name=name, **options)(function)

    return declare


def quick(topic: str) -> list[str]:
    """Answers at once."""
    here = current()
    assert here is not None
    note(here.name)
    return [here.name]


for letter in "abcdef":  # before the others in every pack
    declared(f"quick_{letter}", topics="pack*")(quick)


@declared("gated", topics="pack*", timeout=60)
def gated(topic: str) -> list[str]:
    block_until("gate")
    return ["through"]


@declared("hangs", topics="pack*", timeout=0.5)
def hangs(topic: str) -> list[str]:
    note("hangs")
    time.sleep(3600)
    return []


@declared("raises", topics="pack*")
def raises(topic: str) -> list[str]:
    raise ValueError("no such feed")


@declared("bad_items", topics="pack*")
def bad_items(topic: str) -> list[Any]:
    return ["fine", object()]


@declared("exits", topics="pack*")
def exits(topic: str) -> list[str]:
    raise SystemExit(3)


@declared("out_of_memory", topics="pack*")
def out_of_memory(topic: str) -> list[str]:
    raise MemoryError


@declared("empty", topics="pack*")
def empty(topic: str) -> None:
    return None


@declared("flaky", topics="pack*", retries=2)
def flaky(topic: str) -> list[str]:
    if note("flaky") < 2:
        raise ConnectionError("reset by peer")
    return ["second time lucky"]


@declared("big", topics="pack*")
def big(topic: str) -> Iterator[str]:
    """Several chunks, of which none is like another."""
    for number in range(3000):
        yield f"{number:0>1000}"


@declared("dies_once", topics="pack*")
def dies_once(topic: str) -> list[str]:
    if note("dies_once") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return ["second life"]


@declared("poison", topics="pack*")
def poison(topic: str) -> list[str]:
    note("poison")
    os.kill(os.getpid(), signal.SIGKILL)
    return []


for letter in "ghijkl":  # and after them
    declared(f"quick_{letter}", topics="pack*")(quick)


# Coroutines -------------------------------------------------------------------------------------------

_counting = threading.Lock()
_here = 0


async def crowd(topic: str) -> list[int]:
    """How many of them there are at once in this process."""
    global _here
    with _counting:
        _here += 1
        most = _here
    await anyio.sleep(0.05)
    with _counting:
        _here -= 1
    return [most]


for number in range(CROWD):
    collectors.collector(name=f"crowd_{number}", topics="crowd*")(crowd)


async def waits(topic: str) -> list[str]:
    note("await-waits")
    while not (NOTES / "await").exists():
        await anyio.sleep(0.02)
    return ["through"]


for letter in "abcde":
    declared(f"waits_{letter}", topics="wait*", timeout=60)(waits)


@declared("async_raises", topics="wait*")
async def async_raises(topic: str) -> list[str]:
    raise ValueError("no such feed")


@declared("async_hangs", topics="wait*", timeout=0.5)
async def async_hangs(topic: str) -> list[str]:
    await anyio.sleep(3600)
    return []


# Stages -----------------------------------------------------------------------------------------------


@collectors.process
def total(items: Iterator[Any]) -> int:
    """Counts what arrived."""
    return sum(1 for _ in items)
