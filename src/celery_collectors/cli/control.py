"""``collectors requests cancel|retry|priority``: end a request, try it again, let it go first."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from celery_collectors.cli.attending import Delivery, attend, leave
from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.completing import ids, names
from celery_collectors.cli.duration import duration
from celery_collectors.cli.exit_codes import ExitCode
from celery_collectors.cli.interrupts import Interrupts, counted
from celery_collectors.cli.requests import find

if TYPE_CHECKING:
    from celery_collectors.cli.place import Place
    from celery_collectors.cli.wanted import Wanted
    from celery_collectors.handle import Retried

LEVELS = ("low", "normal", "high")


@click.command("cancel", short_help="End a request; nothing of it starts any more.")
@click.argument("request_id", metavar="ID", shell_complete=ids)
@click.option("--reason", metavar="TEXT", help="Why, for its report.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def cancel(wanted: Wanted, /, *, request_id: str, reason: str | None, as_json: bool) -> None:
    """End the request ID: once this returns, nothing of it starts any more.

    What runs is stopped where that is possible. One that has ended already
    stays as it is, which is no error.

    \b
    collectors --app examples.airports requests cancel 3f8a21 --reason typo
    """
    from celery_collectors.cli.place import opened

    with opened(wanted, worker=False) as place:
        request = find(place.collectors, request_id)
        state = str(request.cancel(reason, by=_who()))
    said = f"{request.id}: cancelled" if state == "cancelled" else f"{request.id}: it was {state} already"
    _say({"request_id": request.id, "state": state}, said, as_json)


def _who() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # nobody has this user's number
        return None


@click.command("retry", short_help="Try what failed again.")
@click.argument("request_id", metavar="ID", shell_complete=ids)
@click.option("--failed", is_flag=True, help="Run all that failed, which is what happens anyway.")
@click.option(
    "-c",
    "--collector",
    "only",
    multiple=True,
    metavar="NAME",
    shell_complete=names,
    help="Run this one; can be repeated.",
)
@click.option("--only", "also_only", multiple=True, hidden=True)
@click.option(
    "--deadline", type=duration, metavar="DURATION", help="When collecting ends, from now. Default: as before."
)
@click.option("--finish", type=duration, metavar="DURATION", help="How long the stages may take after that.")
@click.option("--force", is_flag=True, help="Also what can't be helped by what its error says.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, and nothing else, on stdout.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the answer to FILE.")
@click.option("--detach", is_flag=True, help="Print the request's id at once and don't wait.")
@click.pass_obj
def retry(
    wanted: Wanted, /, *, request_id: str, as_json: bool, output: Path | None, detach: bool, **asked: Any
) -> None:
    """Try what failed of the request ID again, and print the new answer.

    What answered is kept, and not asked again; the stages run anew over all of
    it. What an error says that trying again can't help is left, or refused if
    it was named, until it was mended: then --force runs it.

    \b
    collectors --app examples.airports requests retry 3f8a21
    collectors --app news requests retry 3f8a21 -c arxiv --deadline 10s
    """
    from celery_collectors.cli.output import OutputFile
    from celery_collectors.cli.place import opened

    if detach and output:
        raise Complaint("--detach has no answer to write with -o", hint="leave one of them out")
    asked["only"] += asked.pop("also_only")
    if asked.pop("failed") and asked["only"]:
        raise Complaint("--failed and -c ask for different runs", hint="leave one of them out")
    delivery = Delivery(as_json=as_json, detach=detach, file=OutputFile(output) if output else None)
    with counted() as interrupts, opened(wanted, worker=True) as place:
        code = _retry(place, request_id, asked, delivery, interrupts)
    sys.exit(int(code))


def _retry(
    place: Place, request_id: str, asked: dict[str, Any], delivery: Delivery, interrupts: Interrupts
) -> ExitCode:
    from celery_collectors.cli.place import refuse_unreachable_broker

    refuse_unreachable_broker(place)
    request = find(place.collectors, request_id)
    interrupts.hold()
    begun = request.retry(**asked | {"only": asked["only"] or "failed"})
    if not delivery.as_json:
        click.echo(_in_words(begun), err=True)
    if delivery.detach:
        told = {"generation": begun.generation, "runs": list(begun.runs), "left": list(begun.left)}
        return leave(place, request, delivery, told)
    return attend(place, request, delivery, interrupts)


def _in_words(begun: Retried) -> str:
    runs = ", ".join(begun.runs) or "no run, only the stages"
    left = f"; left, because trying again can't help: {', '.join(begun.left)}" if begun.left else ""
    return f"generation {begun.generation}: {runs}{left}"


@click.command("priority", short_help="Let what waits of a request go before others, or after them.")
@click.argument("request_id", metavar="ID", shell_complete=ids)
@click.argument("level", metavar="LEVEL", type=click.Choice(LEVELS))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def priority(wanted: Wanted, /, *, request_id: str, level: str, as_json: bool) -> None:
    """Let everything of the request ID that waits go before others, or after.

    LEVEL is low, normal or high. What runs goes on; what starts later has that
    priority, too.

    \b
    collectors --app examples.airports requests priority 3f8a21 high
    """
    from celery_collectors.cli.place import opened

    with opened(wanted, worker=False) as place:
        request = find(place.collectors, request_id)
        state = str(request.reprioritise(level))
    _say({"request_id": request.id, "state": state, "priority": level}, f"{request.id}: {level}", as_json)


def _say(data: dict[str, Any], words: str, as_json: bool) -> None:
    from celery_collectors.cli.output import print_json, print_text

    if as_json:
        print_json({"version": 1} | data)
    else:
        print_text([words])
