"""Following a request to its end: showing what happens, and noticing what stands in its way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from celery_collectors.cli.look import stderr_is_lively
from celery_collectors.cli.place import Place, note
from celery_collectors.cli.progress import Progress
from celery_collectors.errors import WaitTimeout

if TYPE_CHECKING:
    from celery_collectors.cli.interrupts import Interrupts
    from celery_collectors.cli.lines import Lines
    from celery_collectors.cli.live import Live
    from celery_collectors.handle import Request
    from celery_collectors.model import Report

TICK_S = 0.15
WATCH_S = 2.0


def follow(place: Place, request: Request, interrupts: Interrupts, *, quiet: bool) -> Report | None:
    """Show a request until it is final; ``None`` if an interrupt came first.

    Args:
        place: Where it runs.
        request: Its handle.
        interrupts: Looked at between the ledger's answers.
        quiet: Show progress only on a terminal.
    """
    progress = Progress.of(request.report(), request.now_ms())
    watch = _Watch(place)
    view = _view(progress, quiet)
    if view is None:
        return _to_the_end(request, progress, None, watch, interrupts)
    with view.showing():
        return _to_the_end(request, progress, view, watch, interrupts)


def _view(progress: Progress, quiet: bool) -> Live | Lines | None:
    """Which view; its libraries are imported while the request is under way."""
    if stderr_is_lively():
        from celery_collectors.cli.live import Live

        return Live(progress)
    from celery_collectors.cli.lines import Lines

    return None if quiet else Lines(progress)


def _to_the_end(
    request: Request, progress: Progress, view: Live | Lines | None, watch: _Watch, interrupts: Interrupts
) -> Report | None:
    after = "0"
    while not interrupts.count:
        try:
            for event in request.events(after, timeout=TICK_S):
                after = event.id
                if event.generation < progress.generation:
                    continue
                progress.hear(event)
                if view:
                    view.hear(event)
                if interrupts.count:
                    return None
            return request.report()
        except WaitTimeout:
            watch.look()
        if view:
            view.tick()
    return None


class _Watch:
    """Says, once, why nothing happens: nobody consumes our queue, or the embedded worker keeps crashing."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._due_s = 0.0 if place.home is None else time.monotonic() + WATCH_S
        self._said = False

    def look(self) -> None:
        """Look every few seconds until there was something to say."""
        if self._said or time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + WATCH_S
        trouble = no_worker(self._place) if self._place.home is None else crash_loop(self._place)
        if trouble:
            note(trouble)
            self._said = True


def no_worker(place: Place) -> str | None:
    """What to do if no worker consumes our queue."""
    queue = place.collectors.settings.queue
    if any(queue in beat.queues for beat in place.collectors.workers()):
        return None
    return (
        f"no worker consumes the queue {queue!r}; the request waits. "
        f"Start one with the same broker and ledger: celery -A {place.app_name} worker"
    )


def crash_loop(place: Place) -> str | None:
    """What the embedded worker said last, if it has been given up on."""
    from celery_collectors.embedded import status

    if place.home is None or (said := status(place.home)).worker != "crash-loop":
        return None
    last_words = " ".join(said.log_tail[-1:])
    return f"the embedded worker keeps crashing: {last_words} (see {place.home / 'worker.log'})"
