"""An app of plain Celery tasks, as somebody has it who changes one import; they misbehave as their arguments say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from celery import Task, group
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from kombu import Queue

from celery_collectors import Collectors, chord, current
from tests.integration.apps import make_app

NOTES = Path(os.environ.get("CHORD_APP_NOTES", "/nonexistent"))
SERIALIZER = os.environ.get("CHORD_APP_SERIALIZER", "json")

app = make_app("chord_app")
app.conf.update(
    task_serializer=SERIALIZER,
    result_serializer=SERIALIZER,
    accept_content=["json", SERIALIZER],
    result_accept_content=["json", SERIALIZER],
    task_queues=[Queue(app.conf.task_default_queue), Queue(f"{app.conf.task_default_queue}.special")],
    task_routes={"*.routed": {"queue": f"{app.conf.task_default_queue}.special"}},
)
collectors = Collectors(app, backoff_s=0.1)


def note(word: str, *what: Any) -> int:
    """Append a line to this test's notes, and return how many stand there now."""
    path = NOTES / word
    with path.open("ab", buffering=0) as notes:
        notes.write(json.dumps(what, default=repr).encode() + b"\n")
    return path.read_bytes().count(b"\n")


def die() -> None:
    """What the kernel does to a process that eats too much."""
    os.kill(os.getpid(), signal.SIGKILL)


def block_until(word: str) -> None:
    """Wait until the test writes a file of this name."""
    note(f"{word}-waits", os.getpid())
    while not (NOTES / word).exists():
        time.sleep(0.02)


class Point(NamedTuple):
    """What only pickle brings back as it was."""

    x: int
    y: int


# Members ----------------------------------------------------------------------------------------------


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def echo(value: Any) -> Any:
    return value


@app.task(bind=True)
def hands_on(self: Any, x: int, y: int) -> str:
    """Gives its own headers on to another task, as tracing does."""
    return str(add.apply_async((x, y), headers=self.request.headers).id)


@app.task
def fail(message: str = "no such feed", word: str = "") -> None:
    if word:
        note(word)
    raise ValueError(message)


@app.task
def noted(word: str, *what: Any, **more: Any) -> int:
    """Leaves a note with its arguments."""
    return note(word, list(what), more)


@app.task
def gated(word: str) -> str:
    block_until(word)
    return word


@app.task
def mends(word: str, gate: str = "") -> str:
    """Fails until the test mends it; if there is a gate, not before that is open."""
    if gate:
        block_until(gate)
    if not (NOTES / word).exists():
        raise ConnectionError("reset by peer")
    return "mended"


@app.task
def hang() -> None:
    time.sleep(3600)


@app.task
def gives_in() -> str:
    """Lets a soft time limit end what it does, and answers with what it has."""
    try:
        time.sleep(3600)
    except SoftTimeLimitExceeded:
        return "as far as it got"
    return "never"


@app.task(bind=True)
def joins_in(self: Any) -> Any:
    """Wants another member beside itself."""
    return self.add_to_chord(echo.s("late"))


@app.task(bind=True)
def stamps(self: Any) -> Any:
    return self.request.stamps


@app.task
def routed(value: Any) -> Any:
    return value


@app.task(bind=True)
def introspect(self: Any, *args: Any) -> dict[str, Any]:
    """What a task can see of itself."""
    request, here = self.request, current()
    return {
        "name": self.name,
        "task": request.task,
        "id": request.id,
        "root_id": request.root_id,
        "retries": request.retries,
        "priority": request.delivery_info["priority"],
        "queue": request.delivery_info["routing_key"],
        "timelimit": list(request.timelimit),
        "args": list(args),
        "header": (request.headers or {}).get("tenant"),
        "current": [here.request_id, here.name, here.attempt] if here else None,
        "pid": os.getpid(),
    }


class Handled(Task):
    """A base class with everything that one can have."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        note(args[0], "call")
        return self.run(*args, **kwargs)

    def before_start(self, *given: Any) -> None:
        note(given[1][0], "before_start")

    def on_success(self, *given: Any) -> None:
        note(given[2][0], "on_success", given[0])

    def on_failure(self, *given: Any) -> None:
        note(given[2][0], "on_failure", str(given[0]))

    def on_retry(self, *given: Any) -> None:
        note(given[2][0], "on_retry", str(given[0]))

    def after_return(self, *given: Any) -> None:
        note(given[3][0], "after_return", given[0])


@app.task(base=Handled, bind=True, max_retries=1)
def handled(self: Any, word: str, how: str = "succeeds") -> str:
    if how == "retries" and not self.request.retries:
        raise self.retry(countdown=0, exc=ValueError("once more"))
    if how == "fails":
        raise ValueError("not at all")
    return how


# Retries ----------------------------------------------------------------------------------------------


@app.task(bind=True, max_retries=5, default_retry_delay=0)
def retried(self: Any, word: str, times: int, **how: Any) -> list[Any]:
    """Asks to be tried again so many times, with ``countdown``, ``eta_s``, ``exc`` …"""
    note(word, self.request.retries, time.time())
    if "eta_s" in how:
        how["eta"] = datetime.now(UTC) + timedelta(seconds=how.pop("eta_s"))
    if self.request.retries < times:
        raise self.retry(**how)
    return [self.request.retries, times]


@app.task(bind=True, max_retries=2, default_retry_delay=0)
def gives_up(self: Any, word: str, with_exc: bool) -> None:
    note(word)
    raise self.retry(exc=KeyError("gone") if with_exc else None)


@app.task(bind=True, default_retry_delay=0)
def changing(self: Any, word: str, number: int = 0, report: str = "daily", *, how: str = "args") -> list[Any]:
    """Asks to be tried again with other arguments."""
    note(word, number, report)
    changed = {
        "args": {"args": (word, number + 1)},
        "kwargs": {"kwargs": {"number": 3}},
        "wrong": {"kwargs": {"nonsense": 1}},
    }[how]
    if number < 3:
        raise self.retry(**changed)
    return [number, report, how]


@app.task(autoretry_for=(ConnectionError,), retry_backoff=False, default_retry_delay=0, max_retries=3)
def auto(word: str, times: int) -> int:
    if (tried := note(word)) <= times:
        raise ConnectionError("reset by peer")
    return tried


# Deaths and odd ends ----------------------------------------------------------------------------------


def dying(name: str, **options: Any) -> Any:
    """A task whose process dies so many times."""

    @app.task(name=f"{__name__}.{name}", **options)
    def task(word: str, times: int = 1) -> int:
        if (tried := note(word)) <= times:
            die()
        return tried

    return task


dies = dying("dies")  # says nothing about acks_late
dies_early = dying("dies_early", acks_late=False)
dies_late = dying("dies_late", acks_late=True, reject_on_worker_lost=True)


gated_early = app.task(name=f"{__name__}.gated_early", acks_late=False)(gated.run)


@app.task(bind=True)
def ends(self: Any, how: str) -> Any:  # noqa: PLR0911, PLR0912 - one branch for each end
    """Ends in every way that Celery knows, and some that it doesn't."""
    match how:
        case "exit":
            sys.exit(3)
        case "exit-quietly":
            sys.exit()
        case "ignore":
            raise Ignore
        case "reject":
            raise Reject("not mine", requeue=False)
        case "reject-requeue":
            raise Reject("not mine", requeue=True)
        case "soft":
            raise SoftTimeLimitExceeded
        case "memory":
            raise MemoryError
        case "keyboard":
            raise KeyboardInterrupt
        case "cancelled":
            raise asyncio.CancelledError
        case "replace":
            return self.replace(add.s(20, 22))
        case "replace-chain":
            return self.replace(add.s(1, 2) | add.s(3))
        case "replace-raised":
            raise self.replace(add.s(20, 22))
        case "replace-failing":
            return self.replace(fail.s())
        case "object":
            return object()
        case "unpicklable":
            return lambda: None
        case "exception":
            return ValueError("a value")
        case "update":
            self.update_state(state="PROGRESS", meta={"done": 1})
            return "updated"
    return how


@app.task(time_limit=1)
def over_hard_limit(word: str) -> None:
    note(word)
    time.sleep(60)


# Callbacks and links ----------------------------------------------------------------------------------


@app.task
def gather(values: list[Any]) -> list[Any]:
    return values


@app.task
def gather_noting(values: list[Any], word: str) -> list[Any]:
    note(word, values)
    return values


@app.task
def gather_reporting(values: list[Any], report: Any) -> dict[str, Any]:
    return {"values": values, "states": {name: str(one.state) for name, one in report.outcomes.items()}}


@app.task(bind=True, default_retry_delay=0)
def gather_again(self: Any, values: list[Any], word: str, report: Any, more: int = 0) -> list[Any]:
    """A callback that asks to be tried again: first with another keyword, then with other data."""
    tried = note(word, values, len(report.outcomes), more)
    if tried == 1:
        raise self.retry(kwargs={"more": 7, "word": word})
    if tried == 2:
        raise self.retry(args=([*values, "added"], word))
    return [values, more]


@app.task
def gather_failing(values: list[Any]) -> None:
    raise RuntimeError("can't join them")


@app.task
def linked(value: Any, word: str) -> None:
    note(word, value)


@app.task
def on_error(request: Any, exc: BaseException, traceback: Any, word: str) -> None:
    note(word, request.id, type(exc).__name__, str(exc))


@app.task(bind=True)
def on_error_by_id(self: Any, failed_id: str, word: str) -> None:
    """Celery gives a bound errback the id only."""
    note(word, failed_id)


# Chords that are opened by tasks ----------------------------------------------------------------------


@app.task(bind=True, default_retry_delay=0)
def opens(self: Any, word: str, how: str = "", request_id: str | None = None) -> None:
    """Opens a chord; also two equal ones, or one each time that it is tried again, or one and then dies."""
    for _ in range(2 if how == "twice" else 1):
        header = group(echo.s(request_id or 1), echo.s(2))
        asked = chord(header, request_id=request_id, deadline=20)(gather_noting.s(f"{word}-called"))
        note(word, asked.request_id, asked.id)
    if how == "retry" and not self.request.retries:
        raise self.retry()


@app.task(bind=True, acks_late=True)
def opens_with_its_own_id(self: Any, word: str) -> None:
    """Makes up another request_id each time that it is run."""
    request_id = str(uuid.uuid4())
    asked = chord(group(echo.s(request_id)), request_id=request_id, deadline=20)(gather_noting.s(f"{word}-called"))
    note(word, request_id, asked.request_id)


@app.task
def opens_for_later(word: str, when: str) -> None:
    """Opens a chord over a member with a time of its own."""
    due = datetime.fromisoformat(when)
    asked = chord([echo.s(1).set(eta=due, expires=due + timedelta(days=36500))], deadline=20)(gather.s())
    note(word, asked.request_id, asked.id)


# Declared ones ----------------------------------------------------------------------------------------


@collectors.collector(retries=2)
def flaky_source(topic: str, word: str = "") -> Iterator[str]:
    if note(word) < 3:
        raise ConnectionError("reset by peer")
    yield topic
    yield topic.upper()


@collectors.collector(timeout=1)
def slow_source(topic: str) -> list[str]:
    time.sleep(3600)
    return [topic]


@collectors.collector
def quick_source(topic: str) -> list[str]:
    return [topic]


@collectors.collector
async def async_source(topic: str, times: int = 2) -> AsyncIterator[str]:
    for number in range(times):
        await anyio.sleep(0)
        yield f"{topic}{number}"


@collectors.collector
async def async_list(topic: str) -> list[str]:
    return [topic]


@collectors.gathering
def join(results: Iterable[Iterable[Any]], topic: str, more: int = 0) -> Iterator[Any]:
    """Puts all members' items into one row."""
    yield from ([topic, more] if more else [])
    for items in results:
        yield from items


@collectors.cleanup
def clean(items: Iterator[Any]) -> Iterator[Any]:
    yield from (item for item in items if item != "dirt")


@collectors.process
def total(items: Iterator[Any], report: Any, request_id: str) -> dict[str, Any]:
    return {"items": list(items), "asked": sorted(report.outcomes), "request_id": request_id}
