"""Help that fits the terminal: click's own is never narrower than 50 columns."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

import click

CLICKS_LEAST = 52


class Formatter(click.HelpFormatter):
    """As wide as the terminal, up to click's own width."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        columns = shutil.get_terminal_size().columns
        if width is None and columns < CLICKS_LEAST:
            width = columns - 2
        super().__init__(indent_increment, width, max_width)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Options with what they mean; on a narrow terminal a long option stands above that."""
        is_narrow = self.width < CLICKS_LEAST
        super().write_dl(list(rows), self.width // 4 if is_narrow else col_max, col_spacing)


class Context(click.Context):
    """A command's, with help that fits."""

    formatter_class = Formatter
