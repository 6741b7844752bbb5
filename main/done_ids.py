"""Which task ids have been done to a data file: a set on disk, in a folder beside the file.

An id is a record of 64 bytes, in one of 256 buckets by its digest, so that looking one up costs the same however many
there are. 64 divides a page: a record is there or it isn't, wherever its writer was killed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from main.data_folder import DataFile, enter

# Longer than any redelivery: a message that a dead worker held may lie in a stopped system over a long weekend.
KEPT_S = 7 * 24 * 3600
_RECORD_BYTES = 64
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW


@dataclass(frozen=True)
class DoneIds:
    """The ids of one data file; whoever uses it holds the file's lock."""

    file: DataFile

    def __contains__(self, task_id: str) -> bool:
        with self._bucket(task_id) as (_, bucket):
            return _digest(task_id) in _read(bucket)

    def add(self, task_id: str) -> None:
        """Remember an id: from here on, its row stays."""
        with self._bucket(task_id) as (folder, bucket):
            records = _read(bucket)
            os.ftruncate(bucket, len(records))  # cuts what a full disk or a power cut left of a record
            _write(bucket, b"%s %0*d\n" % (_digest(task_id), _RECORD_BYTES - 34, int(time.time())))
            if _is_old(records):
                _drop_older_half(folder, _digest(task_id)[:2].decode(), _read(bucket))

    @contextmanager
    def _bucket(self, task_id: str) -> Iterator[tuple[int, int]]:
        folder = enter(self.file.folder, self.file.sidecar("done"), make=True)
        try:
            bucket = os.open(_digest(task_id)[:2], _FLAGS, 0o600, dir_fd=folder)
            try:
                yield folder, bucket
            finally:
                os.close(bucket)
        finally:
            os.close(folder)


def _digest(task_id: str) -> bytes:
    """An id may be of any length and have any characters; a record has room for 32."""
    return hashlib.blake2b(task_id.encode(errors="surrogatepass"), digest_size=16).hexdigest().encode()


def _read(bucket: int) -> bytes:
    records = os.pread(bucket, os.fstat(bucket).st_size, 0)
    return records[: len(records) // _RECORD_BYTES * _RECORD_BYTES]


def _write(descriptor: int, data: bytes) -> None:
    if (written := os.write(descriptor, data)) != len(data):
        raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes of the journal could be written")


def _is_old(records: bytes) -> bool:
    """Whether all of the older half is past its time; each half is dropped at once, so that it costs little."""
    middle = len(records) // _RECORD_BYTES // 2 * _RECORD_BYTES
    done_at = records[middle + 33 : middle + 63]
    return done_at.isdigit() and int(done_at) < time.time() - KEPT_S


def _drop_older_half(folder: int, name: str, records: bytes) -> None:
    younger = records[len(records) // _RECORD_BYTES // 2 * _RECORD_BYTES :]
    beside = os.open(f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    try:
        _write(beside, younger)
    finally:
        os.close(beside)
    os.rename(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)
