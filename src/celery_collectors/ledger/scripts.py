"""The Lua scripts: loaded from their files, with the tables of ``model.py`` rendered on top."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
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
RawReply = bytes | list[bytes | None]
"""What a script returns: text, or a list of that and of raw values."""


class Scripts:
    """Calls one ledger script by name, over connections that it keeps.

    It hands them the finished command. What redis-py's client does around every command (packing it anew, asking the
    socket whether its other end still is there, measuring) takes three times as long as sending it.

    Args:
        client: A redis-py client that returns bytes; its pool makes the connections, and closes them.
        where: The ledger's URL without its password, for error messages.
    """

    def __init__(self, client: Redis, where: str) -> None:
        self._client = client
        self._where = where
        self._shas: dict[str, bytes] = {}
        self._idle: deque[Any] = deque()
        self._pid = os.getpid()
        weakref.finalize(self, _give_back, client.connection_pool, self._idle)

    def call(self, name: str, prefix: str, arguments: Mapping[str, Any], value: bytes = b"") -> RawReply:
        """Run ``name.lua`` on the shard with this prefix; return its JSON reply, or a list of that and of values.

        Raises:
            LedgerUnavailable: when the server does not answer or can't write.
        """
        sha = self._shas.get(name) or self._shas.setdefault(name, _sha(name))
        given = (prefix.encode(), msgspec.json.encode(arguments), value)
        try:
            try:
                return self._sent(_command(b"EVALSHA", sha, *given))
            except NoScriptError:  # the server was emptied, or is another one; it keeps the script from now on
                return self._sent(_command(b"EVAL", source(name).encode(), *given))
        except AWAY as error:
            raise LedgerUnavailable(unavailable(self._where, error)) from error
        except ResponseError as error:
            if str(error).startswith("MISCONF"):  # it can't write to its disk, and so refuses to write at all
                raise LedgerUnavailable(unavailable(self._where, error)) from error
            raise

    def _connection(self) -> Any:
        if os.getpid() != self._pid:  # a fork: they are its parent's, who would be given what is answered here
            self._idle.clear()
            self._pid = os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._client.connection_pool.get_connection()

    def _sent(self, command: bytes) -> RawReply:
        connection = self._connection()

        def send() -> RawReply:
            connection.send_packed_command([command])
            reply: RawReply = connection.read_response()
            return reply

        try:
            reply: RawReply = connection.retry.call_with_retry(send, lambda _error: connection.disconnect())
            return reply
        except ResponseError:
            raise
        except BaseException:
            connection.disconnect()  # a reply may still be on its way, which would be taken for the next one's
            raise
        finally:
            if connection.should_reconnect():  # the server is about to move
                connection.disconnect()
            self._idle.append(connection)


def _give_back(pool: Any, idle: deque[Any]) -> None:
    while idle:
        pool.release(idle.pop())


def _command(verb: bytes, script: bytes, *given: bytes) -> bytes:
    """The call of a script with one key and two arguments, as it goes over the wire."""
    parts = (verb, script, b"1", *given)
    return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def unavailable(where: str, error: RedisError) -> str:
    """One line that says the ledger can't be used, why, and what to do."""
    why = str(error).rstrip(".")
    return f"the ledger at {where} can't be used: {why}. Is Redis/Valkey running there, and may we write to it?"


def _sha(name: str) -> bytes:
    """The name under which the server knows a script."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest().encode()


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
    # In one order in every process, or the server would keep a copy of each script for each of them.
    following = sorted(table.items())
    pairs = (f"['{state} {to}'] = true" for state, states in following for to in sorted(states))
    return "{" + ", ".join(pairs) + "}"
