"""Blobs in a Redis or Valkey: a value is a hash, which also expires by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from redis import Redis


class RedisBlobs:
    """Blobs in the hashes of a Redis or Valkey.

    Args:
        answering: Gives the client, which returns bytes; says its errors in our words.
        where: The server for messages to people.
    """

    def __init__(self, answering: Callable[[], AbstractContextManager[Redis]], where: str) -> None:
        self._answering = answering
        self.where = where

    def put(self, key: str, number: int, data: bytes, *, ttl_s: float) -> None:
        """Write a blob; its value expires ``ttl_s`` after the last one was written."""
        with self._answering() as client, client.pipeline(transaction=True) as pipe:
            pipe.hset(key, str(number), data)
            pipe.pexpire(key, int(ttl_s * 1000))
            pipe.execute()

    def get(self, key: str, number: int) -> bytes | None:
        """A blob, or ``None`` if it isn't there."""
        with self._answering() as client:
            found: Any = client.hget(key, str(number))
        return None if found is None else bytes(found)

    def keep(self, key: str, *, ttl_s: float) -> bool:
        """Let a value live so much longer; ``False`` if it is gone."""
        with self._answering() as client:
            return bool(client.pexpire(key, int(ttl_s * 1000)))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove whole values, one by one, because those of a cluster lie on several servers."""
        with self._answering() as client:
            for key in keys:
                client.unlink(key)
