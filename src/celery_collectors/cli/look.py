"""How states look: an icon and a colour each, never a colour alone."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_ICONS = {
    "ok": ("✓", "+"),
    "complete": ("✓", "+"),
    "empty": ("○", "o"),
    "partial": ("◐", "~"),
    "failed": ("✗", "x"),
    "timed_out": ("⧗", "t"),
    "lost": ("?", "?"),
    "cancelled": ("⊘", "-"),
    "skipped": ("⊘", "-"),
    "queued": ("·", "."),
    "retrying": ("↻", "r"),
}
_STYLES = {
    "ok": "green",
    "complete": "green",
    "empty": "cyan",
    "partial": "yellow",
    "failed": "red",
    "timed_out": "red",
    "lost": "red",
    "retrying": "yellow",
    "queued": "dim",
    "skipped": "dim",
    "cancelled": "magenta",
}
WIDTH_OF_A_FILE = 1000  # where no terminal wraps, a row is one line, and grep finds whole names
_RUNNING = ("▸", ">")


def icon(state: str, encoding: str = "utf-8") -> str:
    """A state's sign, an ASCII one where the terminal has no other."""
    return _ICONS.get(state, _RUNNING)[0 if encoding.lower().startswith("utf") else 1]


def style(state: str) -> str:
    """A state's colour."""
    return _STYLES.get(state, "blue")


def words(state: str) -> str:
    """A state in words.

    >>> words("timed_out")
    'timed out'
    """
    return state.replace("_", " ")


def console(stream: IO[str]) -> Console:
    """A console that prints text as it is: brackets are no markup, numbers get no colours of their own."""
    from rich.console import Console

    class OfOurs(Console):
        def on_broken_pipe(self) -> None:
            """Not to end with 1, as rich would: that says "failed"."""
            raise BrokenPipeError

    width = None if stream.isatty() or os.environ.get("COLUMNS") else WIDTH_OF_A_FILE
    return OfOurs(file=stream, width=width, markup=False, highlight=False, emoji=False)


def has_colour(stream: IO[str]) -> bool:
    """Whether a stream is a terminal with colours, and nobody has said NO_COLOR."""
    out = console(stream)
    return out.color_system is not None and not out.no_color


def is_lively(stream: IO[str]) -> bool:
    """Whether a stream is a terminal on which lines can be drawn again."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def stderr_is_lively() -> bool:
    """Whether progress can be drawn."""
    return is_lively(sys.stderr)
