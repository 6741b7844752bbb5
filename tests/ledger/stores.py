"""Every kind of store, with what lies in it in the test's hand."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from redis import Redis

from celery_collectors.payloads import PayloadStore, Value
from celery_collectors.payloads.blobs import Blobs
from celery_collectors.payloads.codec import Chunk
from celery_collectors.payloads.file_blobs import FileBlobs
from celery_collectors.payloads.object_blobs import ObjectBlobs
from celery_collectors.payloads.paths import path_of
from celery_collectors.payloads.redis_blobs import RedisBlobs

KINDS = ("redis", "file", "memory", "s3")


def write(store: PayloadStore, key: str, chunks: Iterable[Chunk], **options: Any) -> Value:
    """Write a value that no ledger is told of."""
    writer = store.writer(key, lambda: None, **options)
    for chunk in chunks:
        writer.add(chunk)
    return writer.close()


def lying_in(blobs: Blobs, client: Redis, prefix: str) -> list[str]:
    """The names of all blobs of keys that begin so."""
    if isinstance(blobs, RedisBlobs):
        keys = sorted(key.decode() for key in client.scan_iter(f"{prefix}*") if b":payload:" in key)
        return [f"{key}#{field.decode()}" for key in keys for field in sorted(client.hkeys(key))]
    if isinstance(blobs, FileBlobs):
        walked = os.walk(blobs.where)  # which takes it well that folders vanish meanwhile
        return sorted(str(Path(folder, name).relative_to(blobs.where)) for folder, _, names in walked for name in names)
    assert isinstance(blobs, ObjectBlobs)
    found = [one["path"] for page in blobs._store.list() for one in page]
    return sorted(name for name in found if name.startswith(path_of(prefix)))


def drop(blobs: Blobs, client: Redis, key: str, number: int) -> None:
    """Lose one blob."""
    if isinstance(blobs, RedisBlobs):
        client.hdel(key, str(number))
    elif isinstance(blobs, FileBlobs):
        (Path(blobs.where) / path_of(key) / str(number)).unlink()
    else:
        assert isinstance(blobs, ObjectBlobs)
        blobs._store.delete(f"{path_of(key)}/{number}")
