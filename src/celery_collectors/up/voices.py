"""What several processes say, line by line, each under its name."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

WAITING_LINES = 10_000
LAST_WORDS_S = 2.0
_COLOURS = ("36", "35", "34", "32", "33")  # cyan for our own words


@dataclass
class Voices:
    """Prints lines from any thread, without ever holding one up: a terminal that is stopped must not stop a worker.

    Args:
        names: Under which names there will be lines; they are written below each other, to the right.
        stream: Where to.
        colour: Whether names have one.
    """

    names: Iterable[str]
    stream: IO[str] = field(default_factory=lambda: sys.stdout)
    colour: bool = False

    def __post_init__(self) -> None:
        """Begin to print."""
        names = list(self.names)
        width = max(map(len, names), default=0)
        self._heads = {name: self._head(name, width, place) for place, name in enumerate(names)}
        self._lines: queue.Queue[str | None] = queue.Queue(WAITING_LINES)
        self._left_out = 0
        self._printer = threading.Thread(target=self._print, name="collectors-voices", daemon=True)
        self._printer.start()

    def say(self, name: str, line: str) -> None:
        """Print a line under a name, soon; when nobody reads, lines are left out."""
        try:
            self._lines.put_nowait(self._heads.get(name, "") + visible(line))
        except queue.Full:
            self._left_out += 1

    def close(self) -> None:
        """Print what is left, unless that can't be done in a moment."""
        with suppress(queue.Full):
            self._lines.put(None, timeout=LAST_WORDS_S)
        self._printer.join(LAST_WORDS_S)

    def _head(self, name: str, width: int, place: int) -> str:
        head = f"{name:>{width}}: "
        return f"\x1b[{_COLOURS[place % len(_COLOURS)]}m{head}\x1b[0m" if self.colour else head

    def _print(self) -> None:
        while (line := self._lines.get()) is not None:
            with suppress(OSError, ValueError):  # whoever read has gone; the processes go on
                print(line, file=self.stream, flush=True)
                if self._left_out and self._lines.empty():
                    left_out, self._left_out = self._left_out, 0
                    print(f"({left_out} lines left out: nobody read them)", file=self.stream, flush=True)


def visible(line: str) -> str:
    r"""A line as it is, but for what would act on the terminal.

    >>> visible("a  b\tc\x1b[31m\n")
    'a  b    c\\x1b[31m'
    """
    clean = line.rstrip().expandtabs(4)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in clean)
