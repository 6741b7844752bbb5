"""What a process that will fork does with objects: in a process of its own, started for it.

obstore's threads don't survive a fork: once a worker's main process has used it, calls in the children that it forks
later never return. The main process needs it seldom: to remove what nobody needs, and to read a chord's result that
a sweeper found unstored.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from celery_collectors.errors import PayloadsUnavailable
from celery_collectors.payloads.object_blobs import ObjectBlobs, in_bucket

PATIENCE_S = 120.0


class ApartBlobs:
    """The blobs of a bucket, each call in a process of its own.

    Args:
        url: As :func:`~celery_collectors.payloads.object_blobs.in_bucket` takes it.
        where: The place for messages to people.
    """

    def __init__(self, url: str, where: str) -> None:
        self._url = url
        self.where = where

    def put(self, key: str, number: int, data: bytes, *, ttl_s: float) -> None:
        """Write a blob."""
        self._call("put", key, number, data, ttl_s=ttl_s)

    def get(self, key: str, number: int) -> bytes | None:
        """A blob, or ``None`` if it isn't there."""
        found: bytes | None = self._call("get", key, number)
        return found

    def keep(self, key: str, *, ttl_s: float) -> bool:
        """Whether a value is there."""
        return bool(self._call("keep", key, ttl_s=ttl_s))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove whole values."""
        self._call("delete", list(keys))

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        asked = msgspec.msgpack.encode((self._url, name, args, kwargs))
        command = [sys.executable, "-P", "-m", __name__]
        try:
            done = subprocess.run(command, input=asked, capture_output=True, timeout=PATIENCE_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PayloadsUnavailable(f"the payloads' {self.where} can't be used: {error}") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise PayloadsUnavailable(said[-1] if said else f"the payloads' {self.where} can't be used")
        return msgspec.msgpack.decode(done.stdout)


def main() -> int:
    """Do one call, and end."""
    url, name, args, kwargs = msgspec.msgpack.decode(sys.stdin.buffer.read())
    blobs: ObjectBlobs = in_bucket(url)
    try:
        made = getattr(blobs, name)(*args, **kwargs)
    except PayloadsUnavailable as error:
        print(error, file=sys.stderr)  # noqa: T201 - which is what our parent reads
        return 1
    sys.stdout.buffer.write(msgspec.msgpack.encode(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
