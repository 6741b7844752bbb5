"""Progress where there is no terminal: a plain line on stderr for every change."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import click

from celery_collectors.cli.text import printable, seconds_text

if TYPE_CHECKING:
    from celery_collectors.cli.progress import Progress
    from celery_collectors.events import Event


class Lines:
    """Prints each event as it comes."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def showing(self) -> AbstractContextManager[object]:
        """Nothing has to be set up, nor put away."""
        return nullcontext()

    def hear(self, event: Event) -> None:
        """Print what happened."""
        click.echo(timed(event, self._progress.created_ms), err=True)

    def tick(self) -> None:
        """Nothing moves between events."""


def timed(event: Event, since_ms: float) -> str:
    """An event in words, after the seconds since its request was opened."""
    return f"{max(0.0, (event.at_ms - since_ms) / 1000):7.2f} s  {printable(describe(event))}"


def describe(event: Event) -> str:
    """An event in words.

    >>> from celery_collectors.events import Event
    >>> describe(Event(request_id="1", subject="run", name="arxiv", state="ok", at_ms=0, attempt=1, items=2))
    'arxiv: ok, 2 items'
    """
    said = [event.state.replace("_", " ")]
    if event.priority:
        said.append(f"priority {event.priority}")
    if event.state == "ok" and event.subject == "run":
        said.append("1 item" if event.items == 1 else f"{event.items} items")
    if event.attempt > 1:
        said.append(f"attempt {event.attempt}")
    if event.delay_s is not None:
        said.append(f"again in {seconds_text(event.delay_s)}")
    # The request's own error follows in its report, wherever these lines are printed.
    error = f": {event.error.type}: {event.error.message}" if event.error and event.subject != "request" else ""
    return f"{event.name}: {', '.join(said)}{error}"
