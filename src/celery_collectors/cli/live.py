"""Progress on a terminal: one line per subcollector, drawn again as it changes."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live as RichLive
from rich.table import Table
from rich.text import Text

from celery_collectors.cli.look import console, icon, style, words
from celery_collectors.cli.progress import ENDED, Line, Progress
from celery_collectors.cli.text import clock_text, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_collectors.events import Event

REDRAW_S = 0.05
_SPARE_LINES = 4  # the head, the line about those not shown, the stages' first, the cursor
_FIRST = ("running", "retrying", "failed", "timed_out", "lost", "queued")


class Live:
    """Draws a request on stderr, and wipes it away at the end, when the report takes its place."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._console = console(sys.stderr)
        self._live = RichLive(console=self._console, auto_refresh=False, transient=True)
        self._drawn_s = 0.0

    def showing(self) -> AbstractContextManager[object]:
        """Draw while the block lasts."""
        return self._live

    def hear(self, _event: Event) -> None:
        """What happened is in the progress already; draw it, unless that was done a moment ago."""
        if time.monotonic() - self._drawn_s >= REDRAW_S:
            self.tick()

    def tick(self) -> None:
        """Draw."""
        self._drawn_s = time.monotonic()
        self._live.update(self._drawing(), refresh=True)

    def _drawing(self) -> Group:
        shown, more = _fitting(list(self._progress.runs.values()), self._room())
        parts: list[Table | Text] = [self._head(), self._table([*shown, *self._progress.stages.values()])]
        if more:
            rest = _text(f"  … and {more} more: {_in_words(self._progress.counts())}", "dim")
            rest.truncate(self._console.width, overflow="ellipsis")
            parts.append(rest)
        return Group(*parts)

    def _room(self) -> int:
        return max(3, self._console.height - _SPARE_LINES - len(self._progress.stages))

    def _head(self) -> Text:
        progress = self._progress
        deadline_s = (progress.deadline_ms - progress.created_ms) / 1000
        head = Text.assemble(
            (printable(progress.topic), "bold"),
            (f"  {progress.state}", "blue"),
            (f"  {clock_text(progress.elapsed_s())} of {clock_text(deadline_s)}", "dim"),
        )
        head.truncate(self._console.width, overflow="ellipsis")
        return head

    def _table(self, lines: Sequence[Line]) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(width=1, no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(8, self._console.width // 3))
        table.add_column(no_wrap=True, min_width=9)
        table.add_column(no_wrap=True, justify="right", min_width=5)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for line in lines:
            table.add_row(*self._row(line))
        return table

    def _row(self, line: Line) -> tuple[Text, ...]:
        look = style(line.state)
        now_ms = self._progress.now_ms()
        elapsed_s = line.elapsed_s(now_ms)
        return (
            Text(icon(line.state, self._console.encoding), style=look),
            Text(printable(line.name)),
            Text(words(line.state), style=look),
            Text("" if elapsed_s is None else clock_text(elapsed_s), style="dim"),
            _text(_detail(line, now_ms), "dim" if line.error is None else look),
        )


def _detail(line: Line, now_ms: float) -> str:
    """Attempts, items and error, as far as there is something to say."""
    said = []
    if line.state == "ok" and line.items:
        said.append("1 item" if line.items == 1 else f"{line.items} items")
    if line.attempt > 1:
        said.append(f"attempt {line.attempt}")
    if line.due_ms is not None:
        said.append(f"again in {clock_text(max(0.0, (line.due_ms - now_ms) / 1000))}")
    return ": ".join(part for part in (", ".join(said), line.error) if part)


def _fitting(lines: list[Line], room: int) -> tuple[list[Line], int]:
    """All lines if they fit; else those that somebody waits for or worries about, in the order asked."""
    if len(lines) <= room:
        return lines, 0
    rank = {state: place for place, state in enumerate(_FIRST)}
    first = sorted(range(len(lines)), key=lambda i: (rank.get(lines[i].state, len(rank)), i))[: room - 1]
    return [lines[i] for i in sorted(first)], len(lines) - len(first)


def _in_words(counts: dict[str, int]) -> str:
    ended_last = sorted(counts.items(), key=lambda item: item[0] in ENDED)
    return ", ".join(f"{number} {words(state)}" for state, number in ended_last)


def _text(content: str, look: str) -> Text:
    return Text(printable(content), style=look)
