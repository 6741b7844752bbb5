"""The Lua scripts: loaded from their files, with the tables of ``model.py`` rendered on top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from redis import Redis
from redis.commands.core import Script
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from celery_collectors.errors import LedgerUnavailable
from celery_collectors.model import (
    REQUEST_ENDED,
    REQUEST_TRANSITIONS,
    RUN_ANSWERED,
    RUN_ENDED,
    RUN_MISSING,
    RUN_TRANSITIONS,
    STAGES,
)

CALL_ANEW = ("claim", "retry", "reprioritise")
"""The scripts that go on with what ``anew.lua`` begins; the others are short, and run often."""
AWAY = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError)


class Scripts:
    """Calls one ledger script by name.

    Args:
        client: A redis-py client that returns bytes.
        where: The ledger's URL without its password, for error messages.
    """

    def __init__(self, client: Redis, where: str) -> None:
        self._client = client
        self._where = where
        self._registered: dict[str, Script] = {}

    def call(self, name: str, prefix: str, arguments: Mapping[str, Any], value: bytes = b"") -> bytes:
        """Run ``name.lua`` on the shard with this prefix; return its JSON reply.

        Raises:
            LedgerUnavailable: when the server does not answer or can't write.
        """
        script = self._registered.get(name)
        if script is None:
            script = self._registered[name] = self._client.register_script(source(name))
        try:
            reply: bytes = script(keys=[prefix], args=[msgspec.json.encode(arguments), value])
        except AWAY as error:
            raise LedgerUnavailable(unavailable(self._where, error)) from error
        except ResponseError as error:
            if str(error).startswith("MISCONF"):  # it can't write to its disk, and so refuses to write at all
                raise LedgerUnavailable(unavailable(self._where, error)) from error
            raise
        return reply


def unavailable(where: str, error: RedisError) -> str:
    """One line that says the ledger can't be used, why, and what to do."""
    why = str(error).rstrip(".")
    return f"the ledger at {where} can't be used: {why}. Is Redis/Valkey running there, and may we write to it?"


@cache
def source(name: str) -> str:
    """The full text of a script: the rendered tables, what all of them share, and its own file."""
    folder = files("celery_collectors.ledger")
    parts = ("prelude", "life", *(("anew",) if name in CALL_ANEW else ()), name)
    return "\n".join((tables(), *(folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in parts)))


def tables() -> str:
    """The tables of ``model.py`` as Lua."""
    return "\n".join(
        (
            f"local RUN_ENDED = {_set(RUN_ENDED)}",
            f"local RUN_ANSWERED = {_set(RUN_ANSWERED)}",
            f"local RUN_MISSING = {_set(RUN_MISSING)}",
            f"local REQUEST_ENDED = {_set(REQUEST_ENDED)}",
            f"local RUN_NEXT = {_transitions(RUN_TRANSITIONS)}",
            f"local REQUEST_NEXT = {_transitions(REQUEST_TRANSITIONS)}",
            "local STAGE_STATE = {" + ", ".join(f"{ref} = '{state}'" for ref, state in STAGES.items()) + "}",
        )
    )


def _set(states: Iterable[str]) -> str:
    return "{" + ", ".join(f"{state} = true" for state in sorted(states)) + "}"


def _transitions(table: Mapping[Any, Iterable[str]]) -> str:
    """``from to`` → true: one flat table, because every call builds it anew."""
    pairs = (f"['{state} {to}'] = true" for state, following in table.items() for to in sorted(following))
    return "{" + ", ".join(pairs) + "}"
