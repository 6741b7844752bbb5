"""Blobs as the objects of an S3 bucket, or in memory: through obstore, which is imported only when it is wanted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from celery_collectors.errors import PayloadsUnavailable, SettingsError
from celery_collectors.payloads.paths import path_of

if TYPE_CHECKING:
    from obstore.store import MemoryStore, S3Store

PATIENCE = timedelta(seconds=10)
RETRIES = 5
DELETED_AT_ONCE = 1000
_PASSWORDS = re.compile(r"secret|token|password|access_?key", re.I)


class ObjectBlobs:
    """Blobs as objects, named after their value and number.

    Args:
        store: An obstore.
        where: The place for messages to people.
    """

    def __init__(self, store: S3Store | MemoryStore, where: str) -> None:
        self._store = store
        self.where = where

    def put(self, key: str, number: int, data: bytes, *, ttl_s: float) -> None:  # noqa: ARG002 - objects don't expire
        """Write a blob."""
        with self._said():
            self._store.put(f"{path_of(key)}/{number}", data)

    def get(self, key: str, number: int) -> bytes | None:
        """A blob, or ``None`` if it isn't there."""
        with self._said():
            try:
                return bytes(self._store.get(f"{path_of(key)}/{number}").bytes())
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def keep(self, key: str, *, ttl_s: float) -> bool:  # noqa: ARG002 - objects don't expire
        """Whether a value is there."""
        with self._said():
            return any(self._store.list(f"{path_of(key)}/", chunk_size=1))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove whole values."""
        with self._said():
            for key in keys:
                for found in self._store.list(f"{path_of(key)}/", chunk_size=DELETED_AT_ONCE):
                    self._store.delete([one["path"] for one in found])

    @contextmanager
    def _said(self) -> Iterator[None]:
        _refuse_after_a_fork(self.where)
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            raise PayloadsUnavailable(f"the payloads' {self.where} can't be used: {_first_line(error)}") from error


def in_bucket(url: str) -> ObjectBlobs:
    """Blobs in the S3 bucket of a URL like ``s3://bucket/prefix?region=eu-central-1&endpoint=http://host:9000``.

    Who may enter is not part of it: obstore finds ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, or a role.

    Raises:
        SettingsError: for an option that isn't one, or a secret.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if parts.username or parts.password or any(map(_PASSWORDS.search, options)):
        raise SettingsError(
            "payloads must not have a secret in its URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    where = bucket_name(url)
    obstore = _obstore(where)
    is_http = any(option.startswith("http://") for option in options.values())
    try:
        store = obstore.S3Store.from_url(
            where,
            config=options,
            client_options={"timeout": PATIENCE, "connect_timeout": PATIENCE, "allow_http": is_http},
            retry_config={"max_retries": RETRIES, "retry_timeout": PATIENCE},
        )
    except Exception as error:
        raise SettingsError(f"payloads={where!r} can't be used: {_first_line(error)}") from error
    return ObjectBlobs(store, where)


def bucket_name(url: str) -> str:
    """A bucket's URL for messages to people.

    >>> bucket_name("s3://bucket/prefix?endpoint=http://host:9000")
    's3://bucket/prefix'
    """
    parts = urlsplit(url)
    return f"s3://{parts.netloc.rpartition('@')[2]}{parts.path}"


@cache
def in_memory() -> ObjectBlobs:
    """Blobs in this process's memory, which no other sees: for tests."""
    return ObjectBlobs(_obstore("memory://").MemoryStore(), "memory://")


def _obstore(where: str) -> Any:
    try:
        import obstore.store
    except ImportError as error:
        raise SettingsError(
            f"payloads={where!r} needs obstore, which is not there: pip install 'celery-collectors[objects]'"
        ) from error
    _refuse_after_a_fork(where)
    return obstore.store


def _refuse_after_a_fork(where: str) -> None:
    """In a process that was forked from one that had used it, a call of obstore never returns."""
    import obstore

    pid = obstore.__dict__.setdefault("collectors_pid", os.getpid())
    if pid != os.getpid():
        raise PayloadsUnavailable(
            f"the payloads' {where} can't be used in a process that was forked from one that had used it "
            f"(process {pid}): fork first, or start processes by 'spawn'"
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
