"""Blobs as plain files: a value is a folder. For processes that share a disk, as those of the embedded engine do.

Not through obstore, which has these, too: its threads don't survive a fork, after which every call hangs for ever, and
a Celery worker forks. Nor is it quicker.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from celery_collectors.errors import PayloadsUnavailable
from celery_collectors.payloads.paths import path_of

TRIES = 5


class FileBlobs:
    """Blobs in a folder, which is made when it is first needed.

    A blob is not renamed into place: nothing points to it before it is whole.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.where = str(folder)

    def put(self, key: str, number: int, data: bytes, *, ttl_s: float) -> None:  # noqa: ARG002 - files don't expire
        """Write a blob."""
        path = self._folder / path_of(key) / str(number)
        with self._said():
            for left in reversed(range(TRIES)):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    path.write_bytes(data)
                    return
                except FileNotFoundError:  # somebody removes what is empty
                    if not left:
                        raise

    def get(self, key: str, number: int) -> bytes | None:
        """A blob, or ``None`` if it isn't there."""
        with self._said():
            try:
                return (self._folder / path_of(key) / str(number)).read_bytes()
            except FileNotFoundError:
                return None

    def keep(self, key: str, *, ttl_s: float) -> bool:  # noqa: ARG002 - files don't expire
        """Whether a value is there."""
        with self._said():
            return (self._folder / path_of(key)).is_dir()

    def delete(self, keys: Sequence[str]) -> None:
        """Remove whole values, and the folders that are empty then."""
        with self._said():
            for key in keys:
                self._delete(self._folder / path_of(key))

    def _delete(self, value: Path) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(value)
        with suppress(OSError):  # not empty, mostly
            for above in value.relative_to(self._folder).parents[:-1]:
                (self._folder / above).rmdir()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PayloadsUnavailable(
                f"the folder for payloads {self.where} can't be used: {error.strerror or error}. "
                "Is it mounted, writable for this user, and not full?"
            ) from error
