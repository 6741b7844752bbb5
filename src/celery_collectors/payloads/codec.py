"""Items as bytes: MessagePack, in chunks that bound memory; and a stage's result, which is JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import msgspec
from kombu import serialization

from celery_collectors.errors import BadItems, PayloadError
from celery_collectors.payloads.plain import UNCHANGING, extended, is_plain, plain

CHUNK_BYTES = 256 * 1024
AT_ONCE = 128  # items that may be held before they are encoded; more would save little, and could be large ones
NUMBERS_AT_ONCE = 1024  # which are small: that saves a fifth
_MAYBE_LARGE = frozenset({str, bytes})

_JSON = msgspec.json.Encoder(decimal_format="string")
_FROM_JSON = msgspec.json.Decoder()
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Any], ext_hook=extended)
_UNSTORABLE = (TypeError, ValueError, OverflowError, RecursionError)
_SHORT_LIST = 15  # so many have a head of one byte; up to 2**16, of three
_LIST = b"\xdd"  # MessagePack's list of up to 2**32 values; four bytes follow that say how many


class Chunk(msgspec.Struct, frozen=True):
    """Some items, encoded: ``data`` is one MessagePack value after another, ``items`` says how many."""

    data: bytes
    items: int


def encode_items(items: Iterable[Any], chunk_bytes: int = CHUNK_BYTES, *, of: str = "") -> Iterator[Chunk]:
    """Encode items as they come, yielding a :class:`Chunk` whenever ``chunk_bytes`` are full.

    Args:
        items: The items.
        chunk_bytes: How many bytes fill a chunk.
        of: Whose items they are, for the error.

    Raises:
        BadItems: for an item that can't be stored, naming its type and position.

    >>> [chunk.items for chunk in encode_items(["a", b"b", {"c": None}])]
    [3]
    """
    pending = ItemBuffer(chunk_bytes, of=of)
    yield from _listed(items, pending) if type(items) is list else _as_they_come(iter(items), pending)
    rest = pending.flush()
    if rest is not None:
        yield rest


def _listed(items: list[Any], pending: ItemBuffer) -> Iterator[Chunk]:
    """As many at once as are wanted: to encode them together takes a quarter of the time."""
    coming = iter(items)
    while some := list(islice(coming, pending.wanted)):
        chunk = pending.add(some)
        if chunk is not None:
            yield chunk


def _as_they_come(coming: Iterator[Any], pending: ItemBuffer) -> Iterator[Chunk]:
    """Several at once of what can't change.

    Code that yields an object may change it, and yield it again, so such a one never waits for others.
    """
    for item in coming:
        chunk = pending.add_one(item) if type(item) not in UNCHANGING else _add_several(item, coming, pending)
        if chunk is not None:
            yield chunk


def _add_several(first: Any, coming: Iterator[Any], pending: ItemBuffer) -> Chunk | None:
    most = pending.wanted_of(type(first))
    some = _alike(first, islice(coming, most - 1))
    if type(some[-1]) in UNCHANGING and type(some[-1]) is not type(first):
        for item in islice(coming, max(0, min(most, AT_ONCE) - len(some))):
            some.append(item)
            if type(item) not in UNCHANGING:
                break
    return pending.add(some, unchanging=type(some[-1]) in UNCHANGING)


def _alike(first: Any, coming: Iterator[Any]) -> list[Any]:
    """What comes of one type, without a word of Python for each, and the first of another."""
    some = [first]
    for kind, alike in groupby(coming, type):
        if kind is not type(first):
            some.append(next(alike))
            break
        some += alike
    return some


class ItemBuffer:
    """Collects encoded items until a chunk is full; for code that can't be an iterator, such as a coroutine."""

    def __init__(self, chunk_bytes: int = CHUNK_BYTES, *, of: str = "") -> None:
        self._of = f" of {of}" if of else ""
        self._limit = chunk_bytes
        self._data = bytearray()
        self._count = self._before = 0
        self._each_bytes = chunk_bytes

    @property
    def wanted(self) -> int:
        """How many items to give it at once: what fills the chunk, by the size of those before, and not too many."""
        return self.wanted_of(str)

    def wanted_of(self, kind: type) -> int:
        """How many to give it at once that are all of one type."""
        most = AT_ONCE if kind in _MAYBE_LARGE else NUMBERS_AT_ONCE
        return max(1, min(most, (self._limit - len(self._data)) // self._each_bytes))

    def add(self, items: Sequence[Any], *, unchanging: bool = False) -> Chunk | None:
        """Encode some items; return a chunk when they filled one.

        Args:
            items: The items.
            unchanging: Whether each is known to be of a type that is stored as it is; else that is looked at.
        """
        before = len(self._data)
        together = _together(items, unchanging) if len(items) > 1 else None
        if together is None:
            for item in items:
                self._encode(item)
        else:
            self._data += together
            self._count += len(items)
        added = len(self._data) - before
        # What fills a chunk by itself was not expected: who knows which of them were large, and what follows.
        self._each_bytes = added // max(1, len(items)) or 1 if added < self._limit else self._limit
        return self.flush() if len(self._data) >= self._limit else None

    def add_one(self, item: Any) -> Chunk | None:
        """Encode an item; return a chunk when it filled one."""
        self._encode(item)
        return self.flush() if len(self._data) >= self._limit else None

    def _encode(self, item: Any) -> None:
        try:
            self._data += _encode(item)
        except _UNSTORABLE as error:
            where = f"item {self._before + self._count}{self._of} ({type(item).__qualname__})"
            raise BadItems(f"{where} can't be stored: {_why(error)}") from error
        self._count += 1

    def flush(self) -> Chunk | None:
        """Return what is pending as a chunk, or ``None`` if nothing is."""
        if not self._count:
            return None
        chunk = Chunk(bytes(self._data), self._count)
        self._before += self._count
        self._data, self._count = bytearray(), 0
        return chunk


def _together(items: Sequence[Any], unchanging: bool) -> bytes | None:
    """Several items as one after another, if MessagePack can hold all of them as they are."""
    try:
        if not (unchanging or is_plain(items)):
            return None
        encoded = _ENCODER.encode(items)
    except _UNSTORABLE:  # one of them; which, is found by itself
        return None
    return encoded[1 if len(items) <= _SHORT_LIST else 3 :]  # without the head that makes a list of them


def _encode(item: Any) -> bytes:
    try:
        return _ENCODER.encode(item if is_plain(item) else plain(item))
    except OverflowError:
        return _ENCODER.encode(plain(item, wide=True))


def _why(error: Exception) -> str:
    return "it contains itself, or is nested too deep" if isinstance(error, RecursionError) else str(error)


def decode_items(chunk: Chunk) -> list[Any]:
    """Decode one chunk's items.

    Raises:
        PayloadError: when the bytes are not what :func:`encode_items` wrote.

    >>> (chunk,) = encode_items([1, {"a": None}])
    >>> decode_items(chunk)
    [1, {'a': None}]
    """
    try:
        return _DECODER.decode(_LIST + chunk.items.to_bytes(4, "big") + chunk.data)
    except (msgspec.DecodeError, ArithmeticError, ValueError) as error:
        raise PayloadError(f"a stored value is damaged: {error}") from error


def chunks_of(data: bytes) -> Iterator[Chunk]:
    """One value's bytes as chunks; as one item in all."""
    for start in range(0, max(1, len(data)), CHUNK_BYTES):
        yield Chunk(data[start : start + CHUNK_BYTES], 0 if start else 1)


def encode_result(value: Any, *, of: str = "") -> bytes:
    """Encode a stage's single value.

    Args:
        value: The value.
        of: Whose it is, for the error.

    Raises:
        BadItems: for a value that JSON can't hold, naming its type.
    """
    try:
        return _JSON.encode(value)
    except _UNSTORABLE as error:
        whose = f" of {of}" if of else ""
        raise BadItems(
            f"the result{whose} ({type(value).__qualname__}) can't be stored as JSON: {_why(error)}"
        ) from error


def decode_result(data: bytes) -> Any:
    """Decode what :func:`encode_result` wrote."""
    try:
        return _FROM_JSON.decode(data)
    except msgspec.DecodeError as error:
        raise PayloadError(f"a stored result is damaged: {error}") from error


def encode_value(value: Any, serializer: str) -> tuple[str, bytes]:
    """Encode what a task of the app returned, with the app's own result serializer; return content type and bytes.

    Raises:
        BadItems: for a value that the serializer can't take, naming its type.
    """
    try:
        media, _, data = serialization.dumps(value, serializer)
    except serialization.EncodeError as error:
        raise BadItems(f"returned {type(value).__qualname__}, which {serializer} can't store: {error}") from error
    return media, data if isinstance(data, bytes) else data.encode()


def decode_value(media: str, data: bytes, accept: Iterable[str]) -> Any:
    """Decode what :func:`encode_value` wrote, if its content type or serializer is accepted.

    Raises:
        PayloadError: when it is not, or the bytes are not what was written.
    """
    try:
        return serialization.loads(data, media, "utf-8", accept=serialization.prepare_accept_content(accept))
    except Exception as error:
        raise PayloadError(f"a stored value can't be read: {error}") from error
