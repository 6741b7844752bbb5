"""What keeps large values: blobs of bytes, under a value's key and a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Blobs(Protocol):
    """Where the blobs of large values lie. Writing one again, or deleting what is gone, changes nothing.

    Each method raises :class:`~celery_collectors.errors.PayloadsUnavailable` when the place can't be reached.

    Attributes:
        where: The place for messages to people, without a password.
    """

    where: str

    def put(self, key: str, number: int, data: bytes, *, ttl_s: float) -> None:
        """Write a blob; where things can expire by themselves it does so after ``ttl_s``."""
        ...

    def get(self, key: str, number: int) -> bytes | None:
        """A blob, or ``None`` if it isn't there."""
        ...

    def keep(self, key: str, *, ttl_s: float) -> bool:
        """Let a value live so much longer; ``False`` if it is gone."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Remove whole values."""
        ...
