"""Staying with a request until its end, handing over its answer; or leaving it, when asked to."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.exit_codes import ExitCode
from celery_collectors.errors import UnavailableError

if TYPE_CHECKING:
    from celery_collectors.cli.interrupts import Interrupts
    from celery_collectors.cli.output import OutputFile
    from celery_collectors.cli.place import Place
    from celery_collectors.handle import Request
    from celery_collectors.model import Report


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How the answer is wanted."""

    as_json: bool
    detach: bool
    file: OutputFile | None


def attend(place: Place, request: Request, delivery: Delivery, interrupts: Interrupts) -> ExitCode:
    """Follow a request to its end, and hand over the answer; an interrupt lets go of it."""
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


def leave(place: Place, request: Request, delivery: Delivery, told: dict[str, Any]) -> ExitCode:
    """Let the request go on without us; ``told`` is what its JSON has beside the id."""
    from celery_collectors.cli.output import print_json, print_text

    keep_going(place, request)
    if delivery.as_json:
        print_json({"version": 1, "request_id": request.id} | told)
    else:
        print_text([request.id])
    return ExitCode.COMPLETE


def keep_going(place: Place, request: Request) -> None:
    """The embedded engine would end with us; a worker of one's own goes on anyway."""
    if place.home is not None:
        from celery_collectors.embedded import detach

        detach(place.home, request.id)


def _follow(place: Place, request: Request, interrupts: Interrupts, *, quiet: bool) -> Report | None:
    from celery_collectors.cli.following import follow

    if not quiet:  # while the request is under way, what its answer will need
        import_module("celery_collectors.cli.tables")
    return follow(place, request, interrupts, quiet=quiet)


def _interrupted(place: Place, request: Request, interrupts: Interrupts) -> Report | None:
    """Let go of the request; if Ctrl-C comes again, cancel it, and return its report."""
    keep_going(place, request)
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
    except Complaint:  # there is no room for it, where it was wanted
        click.echo(f"note: the answer is kept: {place.command} requests result {request.id}", err=True)
        raise
    except KeyboardInterrupt:
        abandon_stdout()
        click.echo(f"\ninterrupted; the answer is kept: {_show(place, request)}", err=True)
        return ExitCode.INTERRUPTED
    finally:
        interrupts.hold()
    return of_report(report)


def _hand_over(place: Place, request: Request, report: Report, delivery: Delivery) -> None:
    from celery_collectors.cli.output import print_text

    report_last = sys.stdout.isatty()  # or a long answer would push it off the screen
    if not delivery.as_json and not report_last:
        _print_report(report)
    chunks = _answer(place, request, report, delivery)
    if chunks is not None and delivery.file:
        delivery.file.write(chunks)
    elif chunks is not None:
        print_text(chunks)
    if not delivery.as_json and report_last:
        _print_report(report)


def _print_report(report: Report) -> None:
    from celery_collectors.cli.tables import print_report

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
