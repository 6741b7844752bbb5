"""The Redis/Valkey payload store: chunks in a hash, under a key of their own attempt.

Chunks are written before the ledger points to them and never changed after; writing one again changes
nothing. Every key expires on its own, so that what no one points to (a losing attempt, a killed worker)
goes away by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from redis import Redis

from celery_collectors.errors import PayloadError
from celery_collectors.payloads.codec import CHUNK_BYTES, Chunk, decode_items, decode_value
from celery_collectors.payloads.frames import sealed, unsealed
from celery_collectors.settings import Settings


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands in the ledger for the output of a run or stage.

    Attributes:
        items, size: How many items, and how many bytes they take encoded, before they are compressed.
        media: Empty for items; for a single value, as a task returned it, the content type that it is encoded as.
        inline: The chunk itself as a frame, where it is small.
        key, chunks: Else the store's key, and how many chunks must be there.
    """

    items: int = 0
    size: int = 0
    media: str = ""
    inline: bytes = b""
    key: str = ""
    chunks: int = 0

    def to_bytes(self) -> bytes:
        """The value as the ledger keeps it."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Value:
        """Read back what :meth:`to_bytes` wrote."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise PayloadError(f"a stored value is damaged: {error}") from error


def is_inline(raw: bytes) -> bool:
    """Whether a stored value holds its bytes itself, so that nothing has to be read for them."""
    return not Value.from_bytes(raw).key


class PayloadStore:
    """Chunks of values too large for the ledger, in the same Redis or Valkey.

    Args:
        client: A redis-py client that returns bytes.
        inline_bytes: Up to this size a value stays inline.
        ttl_s: How long stored chunks live after their request's end.
    """

    def __init__(self, client: Redis, *, inline_bytes: int, ttl_s: float) -> None:
        self._client = client
        self._inline_bytes = inline_bytes
        self._ttl_s = ttl_s

    @classmethod
    def of(cls, client: Redis, settings: Settings) -> PayloadStore:
        """The store in the ledger's own Redis or Valkey, as the settings want it."""
        return cls(client, inline_bytes=settings.inline_bytes, ttl_s=settings.result_ttl_s)

    def writer(self, key: str, *, open_s: float = 0.0) -> PayloadWriter:
        """Begin a value under ``key``, which must be this attempt's own, of a request open ``open_s`` more seconds."""
        ttl_ms = int((open_s + self._ttl_s) * 1000)
        return PayloadWriter(self._client, key, inline_bytes=self._inline_bytes, ttl_ms=ttl_ms)

    def write(self, key: str, chunks: Iterable[Chunk]) -> Value:
        """Write all chunks of a value, and return what the ledger should keep for it."""
        writer = self.writer(key)
        for chunk in chunks:
            writer.add(chunk)
        return writer.close()

    def keep(self, values: Iterable[Value], open_s: float) -> None:
        """Let values live as long as those of a request that is open ``open_s`` more seconds.

        Raises:
            PayloadError: when one is gone.
        """
        ttl_ms = int((open_s + self._ttl_s) * 1000)
        for value in values:
            if value.key and not self._client.pexpire(value.key, ttl_ms):
                raise PayloadError(f"the chunks of {value.key} are gone")

    def chunks(self, value: Value) -> Iterator[Chunk]:
        """Yield a value's chunks in order, one in memory at a time.

        Raises:
            PayloadError: when chunks are missing or damaged.
        """
        yield from unsealed(value.inline)
        for index in range(value.chunks):
            found: Any = self._client.hget(value.key, str(index))
            if found is None:
                raise PayloadError(f"chunk {index + 1} of {value.chunks} is gone from {value.key}")
            yield from unsealed(found)

    def data(self, value: Value) -> bytes:
        """A single value's bytes, whole."""
        return b"".join(chunk.data for chunk in self.chunks(value))

    def items(self, value: Value) -> Iterator[Any]:
        """Yield a value's items in order."""
        for chunk in self.chunks(value):
            yield from decode_items(chunk)

    def single(self, value: Value, accept: Sequence[str]) -> Any:
        """What a task returned: its value as it was, or the list of its items.

        Args:
            value: What the ledger keeps for it.
            accept: The content types that may be decoded.
        """
        return decode_value(value.media, self.data(value), accept) if value.media else [*self.items(value)]


class PayloadWriter:
    """Takes one value's chunks; the first is held back until it is clear that the value is not small."""

    def __init__(self, client: Redis, key: str, *, inline_bytes: int, ttl_ms: int) -> None:
        self._client = client
        self._key = key
        self._inline_bytes = inline_bytes
        self._ttl_ms = ttl_ms
        self._held: Chunk | None = None
        self._items = self._size = self._stored = 0

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk."""
        self._items += chunk.items
        self._size += len(chunk.data)
        if self._size <= self._inline_bytes:
            held = self._held.data if self._held else b""
            self._held = Chunk(held + chunk.data, self._items)
            return
        if self._held is not None:
            self._push(self._held)
            self._held = None
        self._push(chunk)

    def single(self, media: str, data: bytes, items: int) -> Value:
        """Take one encoded value, and return what the ledger should keep for it."""
        for start in range(0, len(data), CHUNK_BYTES):
            self.add(Chunk(data[start : start + CHUNK_BYTES], 0))
        return msgspec.structs.replace(self.close(), media=media, items=items)

    def close(self) -> Value:
        """Return what the ledger should keep for this value."""
        if self._stored:
            return Value(items=self._items, size=self._size, key=self._key, chunks=self._stored)
        return Value(items=self._items, size=self._size, inline=sealed(self._held) if self._held else b"")

    def _push(self, chunk: Chunk) -> None:
        with self._client.pipeline(transaction=True) as pipe:
            pipe.hset(self._key, str(self._stored), sealed(chunk))
            pipe.pexpire(self._key, self._ttl_ms)
            pipe.execute()
        self._stored += 1
