"""Which store holds the large values: chosen by one URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from redis import Redis

from celery_collectors.errors import PayloadsUnavailable
from celery_collectors.ledger.scripts import AWAY
from celery_collectors.ledger.shards import Shards, connect
from celery_collectors.payloads import PayloadStore
from celery_collectors.payloads.apart import ApartBlobs
from celery_collectors.payloads.blobs import Blobs
from celery_collectors.payloads.file_blobs import FileBlobs
from celery_collectors.payloads.object_blobs import bucket_name, in_bucket, in_memory
from celery_collectors.payloads.redis_blobs import RedisBlobs
from celery_collectors.settings import Settings, payloads_scheme, public_url


def payload_store(ledger: Shards, settings: Settings, *, patience_s: float, apart: bool = False) -> PayloadStore:
    """The store that the settings want; if they want none, the ledger's own Redis or Valkey.

    Args:
        ledger: The ledger.
        settings: The settings.
        patience_s: For how long to try again before it counts as away.
        apart: Whether this process will fork, and so must not use objects itself.

    Raises:
        SettingsError: when the setting ``payloads`` can't be used.
    """
    url = settings.forced_payloads or settings.payloads
    blobs = blobs_at(url, patience_s, apart=apart) if url else in_redis_of(ledger)
    return PayloadStore(blobs, inline_bytes=settings.inline_bytes, ttl_s=settings.result_ttl_s)


def in_redis_of(ledger: Shards) -> Blobs:
    """The ledger's own Redis or Valkey; that it is away is said as of the ledger."""
    return RedisBlobs(ledger.answering, f"the ledger's own {ledger.where}")


def blobs_at(url: str, patience_s: float, *, apart: bool = False) -> Blobs:
    """The place that a URL names."""
    scheme = payloads_scheme(url)
    if scheme == "file":
        return FileBlobs(Path(unquote(urlsplit(url).path)))
    if scheme == "s3":
        return ApartBlobs(url, bucket_name(url)) if apart else in_bucket(url)
    if scheme == "memory":
        return in_memory()
    where = public_url(url)
    return RedisBlobs(partial(_answering, connect(url, patience_s=patience_s), where), where)


@contextmanager
def _answering(client: Redis, where: str) -> Iterator[Redis]:
    try:
        yield client
    except AWAY as error:
        why = str(error).rstrip(".")
        raise PayloadsUnavailable(
            f"the payloads at {where} can't be used: {why}. Is Redis/Valkey running there, and may we write to it?"
        ) from error
