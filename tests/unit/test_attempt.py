"""What a collector raised, as the report and Celery get it: whatever it is, it can be stored, and it stays small."""

from __future__ import annotations

import weakref
from collections import UserList
from typing import Any

import msgspec
from celery.exceptions import Ignore

from celery_collectors.errors import CollectError
from celery_collectors.worker.attempt import MESSAGE_MAX_CHARS, TRACEBACK_MAX_CHARS, describe, failed, for_celery


class Mute(Exception):
    """Raises when it is asked what it says."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_that_cannot_say_what_it_is_is_named() -> None:
    assert describe(Mute()).message.startswith("Mute")
    assert str(for_celery(Mute())).startswith("Mute")


def test_text_that_json_cannot_hold_is_spelled_out() -> None:
    info = describe(ValueError("bad \ud800 text"))
    assert info.message == r"bad \ud800 text"
    assert msgspec.json.decode(msgspec.json.encode(info))["message"] == info.message


def test_a_long_error_is_long_nowhere() -> None:
    cause = ValueError("x" * 1_000_000)
    info = describe(cause)
    assert len(info.message) == MESSAGE_MAX_CHARS
    assert len(info.traceback or "") <= TRACEBACK_MAX_CHARS + 2
    assert len(str(for_celery(cause))) < MESSAGE_MAX_CHARS + 20


def test_celery_gets_the_collectors_own_exception_but_none_that_means_something_to_it() -> None:
    cause = OSError("no route")
    assert for_celery(cause) is cause
    assert isinstance(for_celery(Ignore()), CollectError)
    assert isinstance(for_celery(SystemExit(3)), CollectError)


def test_one_that_had_no_memory_left_does_not_keep_what_it_ate() -> None:
    seen: list[weakref.ref[Any]] = []

    def eats() -> None:
        eaten: UserList[int] = UserList()
        seen.append(weakref.ref(eaten))
        raise MemoryError

    try:
        eats()
    except MemoryError as error:
        attempt = failed(error, 1.0)
    assert seen[0]() is None
    assert "in eats" in ((attempt.error and attempt.error.traceback) or "")
