"""What a shell's Tab key is told: names of collectors, ids of requests. It starts nothing, and says nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from celery_collectors.cli.wanted import Wanted

PATIENCE_S = 5.0  # a busy machine takes seconds to import an app
NEWEST = 50

Look = Callable[["Wanted"], list[tuple[str, str]]]
"""Finds words, each with what is said of it where the shell shows that."""


def names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The collectors that the app declares."""
    return _found(ctx, _declared, incomplete)


def ids(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The newest requests; none while the embedded engine is not running."""
    return _found(ctx, _asked, incomplete)


def workers(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The workers that are there; none while the embedded engine is not running."""
    return _found(ctx, _there, incomplete)


def _found(ctx: click.Context, look: Look, incomplete: str) -> list[CompletionItem]:
    """Nothing, where anything is wrong: to run the command will say what."""
    try:
        with _in_silence():
            found = look(_wanted(ctx))
    except (Exception, SystemExit):  # noqa: BLE001 - the app's own code may raise anything
        return []
    return [CompletionItem(word, help=about) for word, about in found if word.startswith(incomplete)]


def _wanted(ctx: click.Context) -> Wanted:
    from celery_collectors.cli.wanted import Wanted

    said = ctx.find_root().params
    return Wanted(app=said.get("app"), broker=said.get("broker"), ledger=said.get("ledger"))


@contextmanager
def _in_silence() -> Iterator[None]:
    """A line on the screen would tear the one that is being typed; a server that is away must not stop it, either."""

    def too_late(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):  # noqa: PTH123 - no file
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _declared(wanted: Wanted) -> list[tuple[str, str]]:
    from celery_collectors.cli.place import without_servers

    with without_servers(wanted) as place:
        return [(name, ", ".join(one.topics)) for name, one in place.collectors.registry.collectors.items()]


def _asked(wanted: Wanted) -> list[tuple[str, str]]:
    from celery_collectors.cli.place import running

    with running(wanted) as place:
        newest = place.collectors.list(NEWEST).requests if place else []
        return [(one.request_id, f"{one.state} {one.topic}") for one in newest]


def _there(wanted: Wanted) -> list[tuple[str, str]]:
    from celery_collectors.cli.place import running

    with running(wanted) as place:
        return [(one.worker, ", ".join(one.queues)) for one in place.collectors.workers()] if place else []
