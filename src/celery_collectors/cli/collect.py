"""``collectors collect``: ask for a topic, follow it, hand over the answer."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from celery_collectors.cli.attending import Delivery, attend, leave
from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.completing import names
from celery_collectors.cli.duration import duration
from celery_collectors.cli.exit_codes import ExitCode
from celery_collectors.cli.interrupts import Interrupts, counted

if TYPE_CHECKING:
    from celery_collectors.cli.place import Place
    from celery_collectors.cli.wanted import Wanted


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
@click.option(
    "--required", multiple=True, metavar="NAME", shell_complete=names, help="One that must answer; can be repeated."
)
@click.option("--first", type=int, metavar="N", help="Stop collecting once N have answered.")
@click.option(
    "-c",
    "--collector",
    "only",
    multiple=True,
    metavar="NAME",
    shell_complete=names,
    help="Ask this one; can be repeated.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the answer to FILE.")
@click.option("--detach", is_flag=True, help="Print the request's id at once and don't wait.")
@click.option("--priority", type=click.Choice(["low", "normal", "high"]), default="normal", show_default=True)
@click.option("--explain", is_flag=True, help="Print what would be run, and in how many messages; ask nothing.")
@click.option("--key", metavar="TEXT", help="Asking again with the same key joins the same request.")
@click.pass_obj
def collect(
    wanted: Wanted, /, *, topic: str, as_json: bool, output: Path | None, detach: bool, explain: bool, **asked: Any
) -> None:
    """Ask every subcollector for TOPIC and print the answer.

    The result goes to stdout, progress and the report on who answered to
    stderr. The first Ctrl-C detaches: the request goes on, and its id is
    printed; a second one cancels it.

    \b
    collectors --app examples.airports collect airport:JFK
    collectors --app examples.airports collect airport:LHR --min-ok 2 -o LHR.json
    collectors --app news collect python --deadline 10s --json
    """
    from celery_collectors.cli.explaining import print_explanation
    from celery_collectors.cli.output import OutputFile
    from celery_collectors.cli.place import opened

    if explain:
        with opened(wanted, worker=False) as place:
            return print_explanation(place, topic, asked, as_json=as_json)
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
        return leave(place, request, delivery, {})
    return attend(place, request, delivery, interrupts)
