"""The engine's app with more sources, each of which misbehaves in its own way; asked for by name, as ``only=[…]``.

A worker of ``engine_app`` alone knows none of them: to this app it is one of an older version.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import anyio
from celery.exceptions import Ignore, Reject, Retry

from celery_collectors import PermanentError, current
from celery_collectors.errors import LedgerUnavailable
from tests.integration.engine_app import NOTES, app, collectors, die, note

__all__ = ["app", "collectors"]

LIMIT = "MISBEHAVING_APP_BYTES"  # how much address space a worker may have

if LIMIT in os.environ:
    resource.setrlimit(resource.RLIMIT_AS, (int(os.environ[LIMIT]), resource.RLIM_INFINITY))

BAD = "bad*"


@collectors.collector(topics=BAD, timeout=60)
def neighbour(topic: str) -> list[int]:
    """Takes a while, and says which attempt it is."""
    note("neighbour")
    time.sleep(1.5)
    return [current().attempt]


@collectors.collector(topics=BAD)
def gives_one(topic: str) -> list[int]:
    return [1]


# What a collector may raise or return ------------------------------------------------------------


@collectors.collector(topics=BAD)
def raises_value_error(topic: str) -> list[str]:
    raise ValueError("no such feed")


@collectors.collector(topics=BAD, retries=5)
def permanent_error(topic: str) -> list[str]:
    raise PermanentError("the key was revoked")


@collectors.collector(topics=BAD)
def ignores(topic: str) -> list[str]:
    raise Ignore("me")


@collectors.collector(topics=BAD)
def rejects(topic: str) -> list[str]:
    raise Reject("not mine", requeue=True)


@collectors.collector(topics=BAD)
def retries(topic: str) -> list[str]:
    raise Retry("later", when=1)


@collectors.collector(topics=BAD)
def system_exits(topic: str) -> list[str]:
    raise SystemExit(3)


@collectors.collector(topics=BAD)
def interrupts(topic: str) -> list[str]:
    raise KeyboardInterrupt


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@collectors.collector(topics=BAD)
def unspeakable(topic: str) -> list[str]:
    raise Unspeakable


@collectors.collector(topics=BAD)
def asks_elsewhere(topic: str) -> list[str]:
    raise LedgerUnavailable("another project's ledger can't be reached")


@collectors.collector(topics=BAD)
def gives_text(topic: str) -> Any:
    return "not a list"


@collectors.collector(topics=BAD)
def gives_objects(topic: str) -> list[object]:
    return [1, object()]


@collectors.collector(topics=BAD)
def fails_half_way(topic: str) -> Iterator[int]:
    yield 1
    raise ConnectionError("reset by peer")


# What does not end -------------------------------------------------------------------------------


@collectors.collector(topics=BAD, timeout=1)
def sleeps_on(topic: str) -> list[str]:
    time.sleep(3600)
    return []


@collectors.collector(topics=BAD, timeout=1)
def waits_for_a_lock(topic: str) -> list[str]:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
    return []


@collectors.collector(topics=BAD, timeout=1)
def waits_in_c(topic: str) -> list[str]:
    select.select([], [], [], 3600)
    return []


@collectors.collector(topics=BAD, timeout=1)
def spins(topic: str) -> list[str]:
    while True:
        pass


@collectors.collector(topics=BAD, timeout=1)
def never_stops_yielding(topic: str) -> Iterator[int]:
    while True:
        yield 1
        time.sleep(0.01)


@collectors.collector(topics=BAD, timeout=1)
def ignores_sigterm(topic: str) -> list[str]:
    """Python lets only a process's first thread do that; C does not ask."""
    ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.c_void_p(1))
    time.sleep(3600)
    return []


@collectors.collector(topics=BAD, timeout=60)
def outlives_the_deadline(topic: str) -> list[str]:
    time.sleep(3600)
    return []


@collectors.collector(topics=BAD, timeout=1)
def leaves_a_thread(topic: str) -> list[str]:
    """One that Python waits for at its end, for ever."""
    threading.Thread(target=time.sleep, args=(3600,)).start()
    time.sleep(3600)
    return []


# What ends its process ---------------------------------------------------------------------------


@collectors.collector(topics=BAD)
def exits_at_once(topic: str) -> list[str]:
    note("exits_at_once")
    os._exit(0)


@collectors.collector(topics=BAD)
def segfaults(topic: str) -> list[str]:
    note("segfaults")
    ctypes.string_at(0)
    return []


@collectors.collector(topics=BAD)
def is_killed(topic: str) -> list[str]:
    """As the kernel does it to a process that eats too much."""
    note("is_killed")
    die()
    return []


@collectors.collector(topics=BAD)
def eats_memory(topic: str) -> list[str]:
    eaten = []
    while True:
        eaten.append(bytearray(64 << 20))


# What litters ------------------------------------------------------------------------------------


@collectors.collector(topics=BAD, timeout=60)
def prints(topic: str) -> list[int]:
    """100 MB, half of it past Celery, which takes what is printed into its log."""
    line = "x" * 999_999
    for _ in range(50):
        print(line)
        os.write(sys.__stdout__.fileno(), line.encode() + b"\n")
    return [1]


def forked(topic: str) -> bool:
    """Fork; true in the child, whose number is noted."""
    pid = os.fork()
    if pid:
        with (NOTES / "forked").open("a") as notes:
            notes.write(f"{pid}\n")
    return pid == 0


@collectors.collector(topics=BAD)
def forks_and_both_return(topic: str) -> list[int]:
    forked(topic)
    return [1]


@collectors.collector(topics=BAD)
def forks_and_both_yield(topic: str) -> Iterator[str]:
    forked(topic)
    for number in range(100):
        yield f"{number:0>100000}"


@collectors.collector(topics=BAD)
def forks_and_the_child_raises(topic: str) -> list[int]:
    if forked(topic):
        raise ValueError("in the child")
    return [1]


@collectors.collector(topics=BAD)
def forks_and_the_child_exits(topic: str) -> list[int]:
    if forked(topic):
        sys.exit(1)
    return [1]


# Coroutines --------------------------------------------------------------------------------------


@collectors.collector(topics=BAD, timeout=30)
async def async_neighbour(topic: str) -> list[int]:
    note("async_neighbour")
    await anyio.sleep(1.5)
    return [current().attempt]


@collectors.collector(topics=BAD, timeout=3)
async def async_sleeps(topic: str) -> list[str]:
    """Without await: nothing else on its loop goes on."""
    note("async_blocks")
    time.sleep(3600)
    return []


@collectors.collector(topics=BAD, timeout=3)
async def async_spins(topic: str) -> list[str]:
    note("async_blocks")
    while True:
        pass


@collectors.collector(topics=BAD, timeout=30)
async def async_blocks_for_a_while(topic: str) -> list[int]:
    note("async_blocks")
    time.sleep(8)
    return [current().attempt]


@collectors.collector(topics=BAD)
async def async_exits(topic: str) -> list[str]:
    raise SystemExit(3)


@collectors.collector(topics=BAD)
async def async_cancels_itself(topic: str) -> list[str]:
    raise asyncio.CancelledError("by itself")


@collectors.collector(topics=BAD, timeout=1)
async def async_can_not_be_cancelled(topic: str) -> list[str]:
    while True:
        try:
            await anyio.sleep(3600)
        except BaseException:  # noqa: BLE001 - that is what is wrong with it
            time.sleep(0.001)


@collectors.collector(topics="newer*", timeout=60)
def known_to_newer_workers(topic: str) -> list[int]:
    return [1]
