"""Where the ledger is: its server, its shards, and how one script is called on one of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import msgspec
from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import BusyLoadingError, ReadOnlyError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from celery_collectors.errors import LedgerMismatchError, LedgerUnavailable
from celery_collectors.ledger.scripts import AWAY, RawReply, Scripts, unavailable
from celery_collectors.settings import Settings, public_url, redis_url

T = TypeVar("T")
SCHEMA = 2
"""How the ledger is laid out; raised when that changes."""
RETRY_CAP_S = 1.0
CONNECT_S = 3


def connect(url: str, *, patience_s: float) -> Redis:
    """A redis-py client that tries again for about ``patience_s`` seconds before it gives up; with 0, it tries once."""
    attempts = int(patience_s / RETRY_CAP_S) + 4 if patience_s else 0
    return Redis.from_url(
        redis_url(url),
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=RETRY_CAP_S), attempts),
        # On a new connection: what may only be read was the server to write to, and another one is by now.
        retry_on_error=[RedisConnectionError, RedisTimeoutError, BusyLoadingError, ReadOnlyError],
        socket_timeout=15 if patience_s else CONNECT_S,
        socket_connect_timeout=CONNECT_S,
        health_check_interval=30,
    )


class Shards:
    """The server, and the key prefixes under which requests are spread over it.

    Args:
        client: A redis-py client that returns bytes (see :func:`connect`).
        settings: Times, caps and the key prefix.
        where: The URL for messages to people, without a password.
        now_ms: For tests: supplies the time instead of the server's clock.
    """

    def __init__(
        self,
        client: Redis,
        settings: Settings,
        *,
        where: str = "redis",
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.client = client
        self.where = where
        self._settings = settings
        self._now_ms = now_ms
        self._scripts = Scripts(client, where)
        self._shards: tuple[str, ...] = ()
        self._made_at: float | None = None

    @classmethod
    def from_url(cls, url: str, settings: Settings | None = None, *, patience_s: float = 3.0) -> Self:
        """A ledger on the Redis or Valkey at ``url``."""
        client = connect(url, patience_s=patience_s)
        return cls(client, settings or Settings.load(), where=public_url(url))

    @property
    def shards(self) -> tuple[str, ...]:
        """Every shard's key prefix; the first use fixes their number in the ledger, or checks it."""
        if not self._shards:
            self._shards = self._found()
        return self._shards

    def _found(self) -> tuple[str, ...]:
        wanted = {"shards": self._settings.shards, "schema": SCHEMA}
        found = msgspec.msgpack.decode(self._call("found", self.fleet, wanted))
        self._made_at = found.pop("made_at")
        if found["schema"] != SCHEMA:
            raise LedgerMismatchError(
                f"the ledger at {self.where} is laid out for another version of celery-collectors (schema "
                f"{found['schema']}, this one has {SCHEMA}); let that version end its requests, or begin a ledger of "
                "its own with another COLLECTORS_PREFIX"
            )
        if found != wanted:
            raise LedgerMismatchError(
                f"the ledger at {self.where} was made with {found}, this program is set to {wanted}; set "
                f"COLLECTORS_SHARDS={found['shards']}, or use another COLLECTORS_PREFIX for a ledger of its own"
            )
        return tuple(f"{self._settings.prefix}:{{{number}}}" for number in range(found["shards"]))

    def has_lost_its_data(self) -> bool:
        """Whether this is another ledger than this process has known, as after the loss of its data.

        Says so once; what can never change is fixed anew.
        """
        known_at = self._made_at
        with self.answering() as client:
            made_at: Any = client.hget(f"{self.fleet}:meta", "made_at")
        if made_at is not None and float(made_at) == known_at:
            return False
        self._shards = self._found()
        return known_at is not None

    @property
    def fleet(self) -> str:
        """The key prefix of what belongs to no request: the workers, the ledger's own facts."""
        return f"{self._settings.prefix}:{{fleet}}"

    def shard_of(self, text: str) -> str:
        """The shard of a request id (or of an idempotency key)."""
        shards = self.shards
        return shards[zlib.crc32(text.encode()) % len(shards)]

    def key(self, kind: str, request_id: str) -> str:
        """The key that holds one kind of a request's data."""
        return f"{self.shard_of(request_id)}:{kind}:{request_id}"

    @property
    def _ttl_ms(self) -> int:
        return int(self._settings.result_ttl_s * 1000)

    def _reply(
        self, name: str, request_id: str, arguments: Mapping[str, Any], type_: type[T], values: Sequence[bytes] = ()
    ) -> T:
        return msgspec.msgpack.decode(self._call(name, self.shard_of(request_id), arguments, values), type=type_)

    def _call(self, name: str, prefix: str, arguments: Mapping[str, Any], values: Sequence[bytes] = ()) -> bytes:
        reply = self._run(name, prefix, arguments, values)
        assert isinstance(reply, bytes)
        return reply

    def _granted(
        self, name: str, request_id: str, arguments: Mapping[str, Any], values: Sequence[bytes] = ()
    ) -> tuple[bytes, tuple[bytes | None, ...]]:
        """The reply of a script that may grant a stage, and what that is made from."""
        reply = self._run(name, self.shard_of(request_id), arguments, values)
        if isinstance(reply, bytes):
            return reply, ()
        text, *given = reply
        assert text is not None
        return text, tuple(given)

    def _run(self, name: str, prefix: str, arguments: Mapping[str, Any], values: Sequence[bytes] = ()) -> RawReply:
        if self._now_ms is not None:
            arguments = {**arguments, "now": self._now_ms()}
        return self._scripts.call(name, prefix, arguments, values)

    @contextmanager
    def answering(self) -> Iterator[Redis]:
        """The client for plain reads, with its errors said in our words."""
        try:
            yield self.client
        except AWAY as error:
            raise LedgerUnavailable(unavailable(self.where, error)) from error
