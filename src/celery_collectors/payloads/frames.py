"""Chunks as they are stored: compressed where that helps, and with a checksum, so that damage is never taken for data.

A frame is a head (how its body is compressed, its length, its items, and the CRC-32 of it all) and the body. Frames
may stand one after another. Where a frame belongs is part of its checksum: the right bytes in the wrong place are
damage, too.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from struct import Struct
from struct import error as StructError  # noqa: N812 - as every other exception is written

from celery_collectors.errors import PayloadError
from celery_collectors.payloads.codec import Chunk

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_HEAD, _CHECKSUM = Struct(">BII"), Struct(">I")
_AS_IT_IS, _ZSTD = 0, 1
LEVEL = 1  # of MessagePack, the higher levels save little more, and take several times as long
WORTH_BYTES = 512  # less is hardly compressed


def sealed(chunk: Chunk, place: str = "") -> bytes:
    """A chunk as it is stored in a place; an inline one has none.

    >>> len(sealed(Chunk(b"x" * 100_000, 1))) < 100
    True
    """
    kind, body = _AS_IT_IS, chunk.data
    if len(body) >= WORTH_BYTES and len(packed := zstd.compress(body, level=LEVEL)) < len(body):
        kind, body = _ZSTD, packed
    head = _HEAD.pack(kind, len(body), chunk.items)
    return head + _CHECKSUM.pack(_checksum(head, body, place)) + body


def _checksum(head: bytes, body: bytes, place: str) -> int:
    return zlib.crc32(body, zlib.crc32(head, zlib.crc32(place.encode())))


def unsealed(data: bytes, places: Iterator[str] | None = None) -> Iterator[Chunk]:
    """The chunks that were stored one after another, in these places.

    Raises:
        PayloadError: when the bytes are not those that :func:`sealed` made.
    """
    at = 0
    while at < len(data):
        head = data[at : at + _HEAD.size]
        try:
            kind, length, items = _HEAD.unpack(head)
            (checksum,) = _CHECKSUM.unpack_from(data, at + _HEAD.size)
        except StructError:
            raise PayloadError("a stored value is damaged: it ends too early") from None
        begins = at + _HEAD.size + _CHECKSUM.size
        body = data[begins : begins + length]
        if _checksum(head, body, next(places) if places else "") != checksum:
            raise PayloadError("a stored value is damaged: its checksum is not that of its bytes in this place")
        yield Chunk(_body(kind, body), items)
        at = begins + length


def _body(kind: int, body: bytes) -> bytes:
    if kind not in (_AS_IT_IS, _ZSTD):
        raise PayloadError(f"a stored value is of kind {kind}, which a newer version of celery-collectors wrote")
    return zstd.decompress(body) if kind == _ZSTD else body
