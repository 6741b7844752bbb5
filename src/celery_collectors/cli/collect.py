"""``collectors collect``: ask for a topic, follow it, hand over the answer."""

from __future__ import annotations

import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.duration import duration
from celery_collectors.cli.exit_codes import ExitCode
from celery_collectors.cli.interrupts import Interrupts, counted
from celery_collectors.errors import UnavailableError

if TYPE_CHECKING:
    from celery_collectors.cli.output import OutputFile
    from celery_collectors.cli.place import Place
    from celery_collectors.cli.wanted import Wanted
    from celery_collectors.handle import Request
    from celery_collectors.model import Report


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How the answer is wanted."""

    as_json: bool
    detach: bool
    file: OutputFile | None


@click.command(short_help="Ask for a topic and wait for the answer.")
@click.argument("topic")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, and nothing else, on stdout.")
@click.option(
    "--deadline", type=duration, metavar="DURATION", help="When collecting ends: 45, 30s, 2m, 1h30m. Default 30s."
)
@click.option(
    "--finish", type=duration, metavar="DURATION", help="How long the stages may take after that. Default 60s."
)
@click.option("--min-ok", type=int, default=1, metavar="N", help="How many must answer. Default 1.")
@click.option("--required", multiple=True, metavar="NAME", help="One that must answer; can be repeated.")
@click.option("--first", type=int, metavar="N", help="Stop collecting once N have answered.")
@click.option("-c", "--collector", "only", multiple=True, metavar="NAME", help="Ask this one; can be repeated.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the answer to FILE.")
@click.option("--detach", is_flag=True, help="Print the request's id at once and don't wait.")
@click.option("--priority", type=click.Choice(["low", "normal", "high"]), default="normal", show_default=True)
@click.option("--key", metavar="TEXT", help="Asking again with the same key joins the same request.")
@click.pass_obj
def collect(wanted: Wanted, /, *, topic: str, as_json: bool, output: Path | None, detach: bool, **asked: Any) -> None:
    """Ask every subcollector for TOPIC and print the answer.

    The result goes to stdout, progress and the report on who answered to
    stderr. The first Ctrl-C detaches: the request goes on, and its id is
    printed; a second one cancels it.

    \b
    collectors --app examples.airports collect airport:JFK
    collectors --app news collect python --deadline 10s --min-ok 2 --json
    """
    from celery_collectors.cli.output import OutputFile
    from celery_collectors.cli.place import opened

    if detach and output:
        raise Complaint("--detach has no answer to write with -o", hint="leave one of them out")
    delivery = Delivery(as_json=as_json, detach=detach, file=OutputFile(output) if output else None)
    with counted() as interrupts, opened(wanted, worker=True) as place:
        code = _collect(place, topic, asked, delivery, interrupts)
    sys.exit(int(code))


def _collect(place: Place, topic: str, asked: dict[str, Any], delivery: Delivery, interrupts: Interrupts) -> ExitCode:
    from celery_collectors.cli.place import note_replaced_broker, refuse_unreachable_broker

    refuse_unreachable_broker(place)
    interrupts.hold()
    # An id of our own, so that it is known whatever happens while the request is opened.
    request_id = None if asked["key"] else str(uuid.uuid4())
    request = place.collectors.request(topic, request_id=request_id, **asked)
    if not delivery.as_json:
        note_replaced_broker(place)
    if delivery.detach:
        return _leave(place, request, delivery)
    try:
        report = _follow(place, request, interrupts, quiet=delivery.as_json)
    except UnavailableError:
        click.echo(f"note: look at {request.id} once it is back: {_show(place, request)}", err=True)
        raise
    if report is None:
        report = _interrupted(place, request, interrupts)
    if report is None:
        return ExitCode.INTERRUPTED
    return _delivered(place, request, report, delivery, interrupts)


def _leave(place: Place, request: Request, delivery: Delivery) -> ExitCode:
    from celery_collectors.cli.output import print_json, print_text

    _keep_going(place, request)
    if delivery.as_json:
        print_json({"version": 1, "request_id": request.id})
    else:
        print_text([request.id])
    return ExitCode.COMPLETE


def _keep_going(place: Place, request: Request) -> None:
    """The embedded engine would end with us; a worker of one's own goes on anyway."""
    if place.home is not None:
        from celery_collectors.embedded import detach

        detach(place.home, request.id)


def _follow(place: Place, request: Request, interrupts: Interrupts, *, quiet: bool) -> Report | None:
    from celery_collectors.cli.following import follow

    return follow(place, request, interrupts, quiet=quiet)


def _interrupted(place: Place, request: Request, interrupts: Interrupts) -> Report | None:
    """Let go of the request; if Ctrl-C comes again, cancel it, and return its report."""
    _keep_going(place, request)
    click.echo(f"\ndetached; {request.id} goes on", err=True)
    click.echo(f"look at it: {_show(place, request)}", err=True)
    if interrupts.can_come_again:
        click.echo("press Ctrl-C again within 2 s to cancel it", err=True)
    if not interrupts.again():
        return None
    request.cancel("interrupted twice", by="the command line")
    return request.report()


def _show(place: Place, request: Request) -> str:
    return f"{place.command} requests show {request.id}"


def _delivered(place: Place, request: Request, report: Report, delivery: Delivery, interrupts: Interrupts) -> ExitCode:
    """Hand over the answer; a reader who takes nothing can't keep us from being interrupted."""
    from celery_collectors.cli.exit_codes import of_report
    from celery_collectors.cli.output import abandon_stdout

    try:
        interrupts.let_go()
        _hand_over(place, request, report, delivery)
    except KeyboardInterrupt:
        abandon_stdout()
        click.echo(f"\ninterrupted; the answer is kept: {_show(place, request)}", err=True)
        return ExitCode.INTERRUPTED
    finally:
        interrupts.hold()
    return of_report(report)


def _hand_over(place: Place, request: Request, report: Report, delivery: Delivery) -> None:
    from celery_collectors.cli.output import print_text
    from celery_collectors.cli.tables import print_report

    report_last = sys.stdout.isatty()  # or a long answer would push it off the screen
    if not delivery.as_json and not report_last:
        print_report(report, sys.stderr)
    chunks = _answer(place, request, report, delivery)
    if chunks is not None and delivery.file:
        delivery.file.write(chunks)
    elif chunks is not None:
        print_text(chunks)
    if not delivery.as_json and report_last:
        print_report(report, sys.stderr)


def _answer(place: Place, request: Request, report: Report, delivery: Delivery) -> Any:
    """Pieces of JSON: the report, the result, or the items if the app makes no result of them."""
    from celery_collectors.cli.output import json_array
    from celery_collectors.cli.text import as_json

    if delivery.as_json:
        return [as_json(report.to_dict())]
    if report.state not in ("complete", "partial"):
        return None
    if "process" in place.collectors.registry.stages:
        return [as_json(report.result)]
    return json_array(request.items())
