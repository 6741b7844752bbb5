"""``collectors requests watch``: a request as it goes on, for a person or as a stream of events."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from celery_collectors.cli.attending import keep_going
from celery_collectors.cli.completing import ids
from celery_collectors.cli.exit_codes import ExitCode, of_report
from celery_collectors.cli.interrupts import Interrupts, counted
from celery_collectors.cli.requests import find, print_whole
from celery_collectors.errors import WaitTimeout

if TYPE_CHECKING:
    from celery_collectors.cli.place import Place
    from celery_collectors.cli.wanted import Wanted
    from celery_collectors.events import Event
    from celery_collectors.handle import Request
    from celery_collectors.model import Report


@click.command("watch", short_help="Follow one request until it ends.")
@click.argument("request_id", metavar="ID", shell_complete=ids)
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON, and nothing else.")
@click.pass_obj
def watch(wanted: Wanted, /, *, request_id: str, as_json: bool) -> None:
    """Follow the request ID until it ends, then show its report and result.

    Ctrl-C stops watching; the request goes on. It ends with the request's
    status, as collect does.

    \b
    collectors --app examples.airports requests watch 3f8a21
    collectors --app news requests watch 3f8a21 --json > events.ndjson
    """
    from celery_collectors.cli.place import opened

    with counted() as interrupts, opened(wanted, worker=False) as place:
        request = find(place.collectors, request_id)
        interrupts.hold()
        if not request.is_final:
            keep_going(place, request)  # whoever asked may have died, and the engine's worker with them
        report = _stream(request, interrupts) if as_json else _follow(place, request, interrupts)
        interrupts.let_go()
        if report is None:
            click.echo(f"\nstopped watching; {request.id} goes on", err=True)
        elif not as_json:
            print_whole(report, None)
    sys.exit(int(ExitCode.INTERRUPTED if report is None else of_report(report)))


def _follow(place: Place, request: Request, interrupts: Interrupts) -> Report | None:
    from celery_collectors.cli.following import follow

    return follow(place, request, interrupts, quiet=False)


def _stream(request: Request, interrupts: Interrupts) -> Report | None:
    """Every event so far, and every one to come."""
    from celery_collectors.cli.following import TICK_S

    after = "0"
    while not interrupts.count:
        try:
            for event in request.events(after, timeout=TICK_S):
                after = event.id
                _print_event(event)
                if interrupts.count:
                    return None
            return request.report()
        except WaitTimeout:
            continue
    return None


def _print_event(event: Event) -> None:
    import msgspec

    from celery_collectors.cli.output import print_line

    print_line({"version": 1} | msgspec.to_builtins(event))
