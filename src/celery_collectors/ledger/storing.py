"""The verbs around values that lie outside the ledger: they are noted before they are written, sifted, and removed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from celery_collectors.ledger.records import Held, Sifted
from celery_collectors.ledger.shards import Shards

SIFTED_AT_ONCE = 100
AGAIN_MS = 3_600_000


class Storing(Shards):
    """What those call who store large values, and those who sweep."""

    def payload_key(self, held: Held) -> str:
        """The key of what an attempt stores, which no other attempt writes."""
        return f"{self.key('payload', held.request_id)}:{held.ref}:{held.generation}.{held.attempt}"

    def note_stored(self, held: Held, *, look_s: float | None = None) -> None:
        """Before an attempt writes under its key: have it looked at, whatever becomes of the attempt.

        Args:
            held: The attempt.
            look_s: When to look first; by default as soon as it could have lapsed.
        """
        look_s = self._settings.lease_s if look_s is None else look_s
        self._note(held, look_ms=int(look_s * 1000), unwanted=False)

    def note_unwanted(self, held: Held) -> None:
        """An attempt will never point to what it has stored: that can be removed."""
        self._note(held, look_ms=0, unwanted=True)

    def _note(self, held: Held, *, look_ms: int, unwanted: bool) -> None:
        arguments = {
            "request_id": held.request_id,
            "ref": held.ref,
            "number": f"{held.generation}.{held.attempt}",
            "look_ms": look_ms,
            "unwanted": unwanted,
        }
        self._call("stored", self.shard_of(held.request_id), arguments)

    def sift(self, shard: str, gone: Sequence[str] = ()) -> Sifted:
        """Look at a shard's stored values that are due; return those that are to be removed.

        Args:
            shard: One of :attr:`shards`.
            gone: Of those returned before, what has been removed.
        """
        arguments = {
            "limit": SIFTED_AT_ONCE,
            "look_ms": int(self._settings.lease_s * 1000),
            "again_ms": AGAIN_MS,
            "gone": list(gone),
        }
        return msgspec.msgpack.decode(self._call("sift", shard, arguments), type=Sifted)


def key_of(shard: str, entry: str) -> str:
    """The key of a stored value, from its entry in a shard's list of them.

    >>> key_of("news:{3}", "!3f8a 0 1.2")
    'news:{3}:payload:3f8a:0:1.2'
    """
    return f"{shard}:payload:{entry.lstrip('!').replace(' ', ':')}"
