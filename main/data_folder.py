"""Where data files lie: below one folder, and nowhere else.

A path is taken apart and walked folder by folder, each opened relative to the one before and never through a symbolic
link. What was checked is what is used, so nobody can swap a folder in between.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NoReturn

NAME_BYTES = 200  # a file system allows 255; the sidecars' names are longer than the file's own
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A FIFO or a terminal that slipped in after the check neither blocks us nor becomes ours.
_HARMLESS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class OutsideDataFolder(ValueError):
    """The path is not that of a data file; it was not touched."""

    def __init__(self, file_path: object, reason: str) -> None:
        super().__init__(file_path, reason)  # as given, so that a worker's error can be made again by its caller
        self.file_path = file_path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.file_path!r} is refused: {self.reason}. Name a plain file, relative to the data folder"


@dataclass(frozen=True)
class DataFile:
    """A name in an open folder; the file itself may be missing.

    Attributes:
        folder: Descriptor of the folder that holds it.
        name: Its name there.
        given: The path as the caller wrote it, for messages.
    """

    folder: int
    name: str
    given: str

    def exists(self) -> bool:
        """Whether there is such a file.

        Raises:
            OutsideDataFolder: when there is something else of that name.
        """
        try:
            self._check(os.stat(self.name, dir_fd=self.folder, follow_symlinks=False))
        except FileNotFoundError:
            return False
        return True

    def open(self, flags: int) -> int:
        """Return a descriptor of the file.

        Raises:
            OutsideDataFolder: when it is a link, a device, or anything else but a file of its own.
        """
        self.exists()  # looked at first: to open some devices is already to use them
        try:
            descriptor = os.open(self.name, flags | _HARMLESS, 0o600, dir_fd=self.folder)
        except OSError as error:
            if error.errno == errno.ELOOP:
                self._refuse("it is a symbolic link")
            raise
        try:
            self._check(os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def sidecar(self, kind: str) -> str:
        """The name of a file that belongs to this one; no data file can have it, for it begins with a dot."""
        return f".{self.name}.{kind}"

    def _check(self, found: os.stat_result) -> None:
        if stat.S_ISLNK(found.st_mode):
            self._refuse("it is a symbolic link")
        if not stat.S_ISREG(found.st_mode):
            self._refuse("it is a folder, a device or something else that is no plain file")
        if found.st_nlink > 1:  # two names would have two locks, and each would roll the other's rows back
            self._refuse("it is a hard link to a file that has another name, too")

    def _refuse(self, reason: str) -> NoReturn:
        raise OutsideDataFolder(self.given, reason)


@contextmanager
def data_file(file_path: str | os.PathLike[str], data_dir: Path, *, make: bool) -> Iterator[DataFile]:
    """Find a data file, and hold its folder open.

    Args:
        file_path: Relative to the data folder, or absolute and below it.
        data_dir: The data folder; it may be a symbolic link itself, nothing below it may.
        make: Make folders that are missing, private to this user.

    Raises:
        OutsideDataFolder: when the path leads out, or can't be a data file's.
        FileNotFoundError: when a folder is missing, and ``make`` is off.
    """
    *folders, name = _parts(file_path, data_dir)
    with ExitStack() as stack:
        if make:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, folder)
        for part in folders:
            folder = _enter_given(folder, part, file_path, make=make)
            stack.callback(os.close, folder)
        yield DataFile(folder, name, os.fspath(file_path))


def enter(parent: int, name: str, *, make: bool) -> int:
    """Return a descriptor of a folder in an open folder, never through a symbolic link."""
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, _FOLDER, dir_fd=parent)


def _enter_given(parent: int, name: str, file_path: object, *, make: bool) -> int:
    try:
        return enter(parent, name, make=make)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise OutsideDataFolder(file_path, f"{name!r} in it is a symbolic link, or no folder") from None
        raise


def _parts(file_path: object, data_dir: Path) -> tuple[str, ...]:
    if not isinstance(file_path, (str, os.PathLike)):
        raise OutsideDataFolder(file_path, "a path is a string")
    path = PurePath(file_path)
    if path.is_absolute():
        path = _below(path, data_dir)
    if not path.parts:
        raise OutsideDataFolder(file_path, "it names no file")
    for part in path.parts:
        if reason := _objection(part):
            raise OutsideDataFolder(file_path, reason)
    return path.parts


def _below(path: PurePath, data_dir: Path) -> PurePath:
    for folder in (data_dir.absolute(), data_dir.resolve()):
        with suppress(ValueError):
            return path.relative_to(folder)
    raise OutsideDataFolder(str(path), f"it is not below {data_dir}")


def _objection(part: str) -> str | None:
    if part == "..":
        return "'..' leads out of the data folder"
    if part.startswith("."):
        return f"names that begin with a dot, as {part!r}, are kept for locks and journals"
    if "\0" in part:
        return "a NUL character ends a path"
    try:
        return None if len(os.fsencode(part)) <= NAME_BYTES else f"a name in it is longer than {NAME_BYTES} bytes"
    except UnicodeEncodeError:
        return "it can't be written in this file system's encoding"
