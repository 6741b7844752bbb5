"""The Lua scripts: loaded from their files, with the tables of ``model.py`` rendered on top."""

from __future__ import annotations

import hashlib
import os
import re
import weakref
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
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

SHARED = ("prelude", "changes", "orders", "life", "ends")
"""What every script begins with."""
CALL_ANEW = ("claim", "retry", "reprioritise")
"""The scripts that go on with what ``anew.lua`` begins; the others are short, and run often."""
WORD = re.compile(r"\w+")
COMMENT = re.compile(r"--[^\n]*")
OWN_LINE_COMMENT = re.compile(r"(?m)^--[^\n]*\n+")
DEFINITION = re.compile(r"(?m)^(?=local )")
NAMES = re.compile(r"local (?:function )?([\w, ]+)")
AWAY = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError)
RawReply = bytes | list[bytes | None]
"""What a script returns: MessagePack, or a list of that and of raw values."""


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

    def call(self, name: str, prefix: str, arguments: Mapping[str, Any], values: Sequence[bytes] = ()) -> RawReply:
        """Run ``name.lua`` on the shard with this prefix; return its reply, as MessagePack, or that and values.

        Args:
            name, prefix: The script, and where.
            arguments: What it gets as MessagePack.
            values: What it gets as raw bytes.

        Raises:
            LedgerUnavailable: when the server does not answer or can't write.
        """
        sha = self._shas.get(name) or self._shas.setdefault(name, _sha(name))
        given = (prefix.encode(), msgspec.msgpack.encode(arguments), *values)
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
    """The call of a script with one key and some arguments, as it goes over the wire."""
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
    """The full text of a script: its own file, and before it what it needs of what all of them share."""
    parts = (*SHARED, *(("anew",) if name in CALL_ANEW else ()))
    shared = "\n".join((tables(), *map(_text, parts)))
    return _needed(shared, _text(name))


def _text(part: str) -> str:
    return files("celery_collectors.ledger").joinpath(f"{part}.lua").read_text(encoding="utf-8")


def _needed(shared: str, script: str) -> str:
    """The script after those shared definitions that it refers to.

    Each call makes every function and table of its script anew: on a server that does little else, to make those that
    a script has no use for took half of its time.
    """
    found, words = [script], _words(script)
    for definition in reversed(DEFINITION.split(OWN_LINE_COMMENT.sub("", shared))):
        names = NAMES.match(definition)
        if names is None or not words.isdisjoint(WORD.findall(names[1])):
            found.append(definition)
            words |= _words(definition)
    return "".join(reversed(found))


def _words(text: str) -> set[str]:
    return set(WORD.findall(COMMENT.sub("", text)))


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
    """One text of all ``|from to|``: every call would have to build a table anew."""
    # In one order in every process, or the server would keep a copy of each script for each of them.
    pairs = (f"{state} {to}" for state, following in sorted(table.items()) for to in sorted(following))
    return "'|" + "|".join(pairs) + "|'"
