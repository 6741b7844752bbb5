"""Data for whoever asked: JSON on stdout, or in a file that is there whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.exit_codes import ExitCode
from celery_collectors.cli.look import is_lively
from celery_collectors.cli.text import as_json


def print_json(value: Any) -> None:
    """Print a value as JSON; coloured on a terminal only."""
    print_text([as_json(value)])


def print_text(chunks: Iterable[str], *, coloured: bool = True) -> None:
    """Print JSON that comes in pieces, as UTF-8 wherever stdout goes; to colour it takes all of them at once."""
    if coloured and is_lively(sys.stdout):
        return _print_coloured("".join(chunks))
    for chunk in chunks:
        _send(chunk)
    return _send("\n", flush=True)


def print_line(value: Any) -> None:
    """Print a value as one line of JSON, at once: somebody may be reading along."""
    _send(as_json(value, indent=None) + "\n", flush=True)


def print_bytes(fill: Callable[[IO[bytes]], None]) -> None:
    """Let something be written to stdout that is no text."""
    with _told_where_it_cant():
        fill(sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _send(text: str, *, flush: bool = False) -> None:
    with _told_where_it_cant():
        sys.stdout.buffer.write(text.encode())
        if flush:
            sys.stdout.buffer.flush()


@contextmanager
def _told_where_it_cant() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon_stdout()
        raise Complaint(
            f"stdout can't be written to: {error.strerror or error}",
            hint="send it where there is room",
            code=ExitCode.FAILED,
        ) from error


def abandon_stdout() -> None:
    """Write no more, not even what is buffered: the interpreter would try that as it ends, and perhaps wait."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _print_coloured(text: str) -> None:
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    from celery_collectors.cli.look import console

    console(sys.stdout).print(JSONHighlighter()(Text(text)), soft_wrap=True)


def json_array(items: Iterable[Any]) -> Iterator[str]:
    """An array as JSON, one item in memory at a time.

    >>> print("".join(json_array([1, "two"])))
    [
      1,
      "two"
    ]
    """
    opening = "["
    for item in items:
        yield opening + "\n  " + as_json(item).replace("\n", "\n  ")
        opening = ","
    yield "[]" if opening == "[" else "\n]"


class OutputFile:
    """The file of ``-o``. Made whole beside its place, then renamed; what isn't a plain file is written into.

    Args:
        path: As the user gave it.

    Raises:
        Complaint: when it can't be written; better now than after a minute of collecting.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            if path.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            self._in_place = path.exists() and not path.is_file()
            # What is written in place keeps its name: /dev/stdout, when it is a pipe, leads to no other.
            self._place = path if self._in_place else Path(os.path.realpath(path))
            self._beside = self._place.with_name(f".{self._place.name}.{os.getpid()}.part")
            self._try_out()
        except OSError as error:
            raise self._unwritable(error, ExitCode.USAGE) from error

    def _try_out(self) -> None:
        if self._in_place:
            self._place.open("ab").close()
        else:
            self._beside.open("xb").close()
            self._beside.unlink()

    def write(self, chunks: Iterable[str]) -> None:
        """Replace the file's content."""
        self.fill(lambda file: _write(file, chunks))

    def fill(self, write: Callable[[IO[bytes]], None]) -> None:
        """Replace the file's content with what is written to it."""
        try:
            if self._in_place:
                with self._place.open("ab") as file:
                    write(file)
                return
            try:
                with self._beside.open("xb") as file:
                    write(file)
                self._beside.replace(self._place)
            finally:
                self._beside.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error, ExitCode.FAILED) from error

    def _unwritable(self, error: OSError, code: ExitCode) -> Complaint:
        return Complaint(
            f"the file {str(self._path)!r} can't be written: {error.strerror or error}",
            hint="give -o another file",
            code=code,
        )


def _write(file: IO[bytes], chunks: Iterable[str]) -> None:
    for chunk in chunks:
        file.write(chunk.encode())
    file.write(b"\n")
