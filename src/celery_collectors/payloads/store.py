"""The payload store: large values as blobs under a key of their own attempt, small ones in the ledger itself.

Blobs are written before the ledger points to them and never changed after; writing one again changes
nothing. The ledger is told of a key before the first of them is written, so that its sweeper finds what no
one points to (a losing attempt, a killed worker) without having to list anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count
from typing import Any

import msgspec

from celery_collectors.errors import PayloadError, TooLarge
from celery_collectors.payloads.blobs import Blobs
from celery_collectors.payloads.codec import CHUNK_BYTES, Chunk, decode_items, decode_value
from celery_collectors.payloads.frames import sealed, unsealed
from celery_collectors.settings import Settings

BLOB_BYTES = 4 * CHUNK_BYTES  # written and read at once, before it is compressed
NOTED_S = 5.0


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands in the ledger for the output of a run or stage.

    Attributes:
        items, size: How many items, and how many bytes they take encoded, before they are compressed.
        media: Empty for items; for a single value, as a task returned it, the content type that it is encoded as.
        inline: The chunk itself as a frame, where it is small.
        key, blobs: Else the store's key, and how many blobs must be there.
    """

    items: int = 0
    size: int = 0
    media: str = ""
    inline: bytes = b""
    key: str = ""
    blobs: int = 0

    def to_bytes(self) -> bytes:
        """The value as the ledger keeps it."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Value:
        """Read back what :meth:`to_bytes` wrote."""
        try:
            value = msgspec.msgpack.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise PayloadError(f"a stored value is damaged: {error}") from error
        if value.key and not value.blobs:
            raise PayloadError(
                f"{value.key} was written by another version of celery-collectors, which this can't read"
            )
        return value


def is_inline(raw: bytes) -> bool:
    """Whether a stored value holds its bytes itself, so that nothing has to be read for them."""
    return not Value.from_bytes(raw).key


class Cap(msgspec.Struct, frozen=True, kw_only=True):
    """How much one value may be.

    Attributes:
        items, size_bytes: At most so many, before they are compressed.
        whose: What is capped, for the error, which says how to raise it: ``run`` or ``request``.
    """

    items: int
    size_bytes: int
    whose: str

    @classmethod
    def of_run(cls, settings: Settings) -> Cap:
        """What one run may produce."""
        return cls(items=settings.run_max_items, size_bytes=settings.run_max_bytes, whose="run")

    @classmethod
    def of_request(cls, settings: Settings) -> Cap:
        """What all runs of a request may produce, and a stage."""
        return cls(items=settings.request_max_items, size_bytes=settings.request_max_bytes, whose="request")

    def check(self, items: int, size_bytes: int) -> None:
        """Refuse more.

        Raises:
            TooLarge: naming the setting.
        """
        if items > self.items:
            raise TooLarge(self._said(f"{self.items:,} items", "max_items"))
        if size_bytes > self.size_bytes:
            raise TooLarge(self._said(f"{self.size_bytes:,} bytes", "max_bytes"))

    def _said(self, most: str, setting: str) -> str:
        name = f"{self.whose}_{setting}"
        return (
            f"more than the {most} that a {self.whose} may have; to raise that, set {name} (COLLECTORS_{name.upper()})"
        )


class PayloadStore:
    """Values of any size: those too large for the ledger as blobs in a place of their own.

    Args:
        blobs: That place.
        inline_bytes: Up to this size a value stays inline.
        ttl_s: How long stored values live after their request's end.
    """

    def __init__(self, blobs: Blobs, *, inline_bytes: int, ttl_s: float) -> None:
        self.blobs = blobs
        self.inline_bytes = inline_bytes
        self._ttl_s = ttl_s

    def writer(
        self, key: str, note: Callable[[], None], *, open_s: float = 0.0, cap: Cap | None = None
    ) -> PayloadWriter:
        """Begin a value.

        Args:
            key: This attempt's own.
            note: Tells the ledger of the key, before anything is written under it; called again every few seconds.
            open_s: For how long its request is open at most.
            cap: How much it may be.
        """
        ttl_s = open_s + self._ttl_s
        return PayloadWriter(self.blobs, key, note, inline_bytes=self.inline_bytes, ttl_s=ttl_s, cap=cap)

    def keep(self, values: Iterable[Value], open_s: float) -> None:
        """Let values live as long as those of a request that is open ``open_s`` more seconds.

        Raises:
            PayloadError: when one is gone.
        """
        for value in values:
            if value.key and not self.blobs.keep(value.key, ttl_s=open_s + self._ttl_s):
                raise PayloadError(f"{value.key} is gone from {self.blobs.where}")

    def chunks(self, value: Value) -> Iterator[Chunk]:
        """Yield a value's chunks in order, one blob in memory at a time.

        Raises:
            PayloadError: when anything of it is missing or damaged.
        """
        yield from unsealed(value.inline)
        places = _places(value.key)
        items = size = 0
        for number in range(value.blobs):
            found = self.blobs.get(value.key, number)
            if found is None:
                raise PayloadError(f"blob {number + 1} of {value.blobs} is gone from {value.key} in {self.blobs.where}")
            for chunk in unsealed(found, places):
                items, size = items + chunk.items, size + len(chunk.data)
                yield chunk
        if value.blobs and (size != value.size or (items != value.items and not value.media)):
            raise PayloadError(f"a stored value is damaged: {value.key} in {self.blobs.where} ends too early")

    def data(self, value: Value) -> bytes:
        """A single value's bytes, whole."""
        return b"".join(chunk.data for chunk in self.chunks(value))

    def lists(self, value: Value) -> Iterator[list[Any]]:
        """Yield a value's items in order, some at a time."""
        return map(decode_items, self.chunks(value))

    def items(self, value: Value) -> Iterator[Any]:
        """Yield a value's items in order."""
        return chain.from_iterable(self.lists(value))

    def single(self, value: Value, accept: Sequence[str]) -> Any:
        """What a task returned: its value as it was, or the list of its items.

        Args:
            value: What the ledger keeps for it.
            accept: The content types that may be decoded.
        """
        return decode_value(value.media, self.data(value), accept) if value.media else [*self.items(value)]


def _places(key: str) -> Iterator[str]:
    """What each frame of a value has in its checksum: whose it is, and the how manieth."""
    return (f"{key}#{number}" for number in count())


class PayloadWriter:
    """Takes one value's chunks; they are held back until it is clear that the value is not small, or a blob is full."""

    def __init__(
        self, blobs: Blobs, key: str, note: Callable[[], None], *, inline_bytes: int, ttl_s: float, cap: Cap | None
    ) -> None:
        self._blobs = blobs
        self._key = key
        self._note = note
        self._noted_at: float | None = None
        self._inline_bytes = inline_bytes
        self._ttl_s = ttl_s
        self._cap = cap
        self._places = _places(key)
        self._held: list[Chunk] = []
        self._held_bytes = self._items = self._size = self._stored = 0

    def stays_inline(self, more: int) -> bool:
        """Whether what was taken, and so many bytes more, needs no place of its own."""
        return self._size + more <= self._inline_bytes

    @property
    def has_stored(self) -> bool:
        """Whether anything may lie under the key."""
        return self._noted_at is not None

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk.

        Raises:
            TooLarge: when that is more than the value may be.
        """
        self._items += chunk.items
        self._size += len(chunk.data)
        if self._cap is not None:
            self._cap.check(self._items, self._size)
        self._held.append(chunk)
        self._held_bytes += len(chunk.data)
        if self._held_bytes >= BLOB_BYTES:
            self._push()

    def single(self, media: str, data: bytes, items: int) -> Value:
        """Take one encoded value, and return what the ledger should keep for it."""
        for start in range(0, len(data), CHUNK_BYTES):
            self.add(Chunk(data[start : start + CHUNK_BYTES], 0))
        return msgspec.structs.replace(self.close(), media=media, items=items)

    def close(self) -> Value:
        """Return what the ledger should keep for this value."""
        if self._size > self._inline_bytes and self._held:
            self._push()
        if self._stored:
            return Value(items=self._items, size=self._size, key=self._key, blobs=self._stored)
        whole = Chunk(b"".join(chunk.data for chunk in self._held), self._items)
        return Value(items=self._items, size=self._size, inline=sealed(whole) if self._held else b"")

    def _push(self) -> None:
        data = b"".join(sealed(chunk, next(self._places)) for chunk in self._held)
        if self._noted_at is None or time.monotonic() - self._noted_at > NOTED_S:
            self._noted_at = time.monotonic()  # first: it may be known although the call fails
            self._note()
        self._blobs.put(self._key, self._stored, data, ttl_s=self._ttl_s)
        self._stored += 1
        self._held, self._held_bytes = [], 0
