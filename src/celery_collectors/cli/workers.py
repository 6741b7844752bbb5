"""``collectors workers list|restart``: who works, and one of them started anew."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from celery_collectors.cli import completing
from celery_collectors.cli.complaints import Complaint, Group
from celery_collectors.cli.duration import duration
from celery_collectors.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from celery_collectors.cli.place import Place
    from celery_collectors.cli.wanted import Wanted
    from celery_collectors.ledger import WorkerBeat

ANSWER_S, POLL_S = 1.0, 0.2


@click.group(cls=Group, no_args_is_help=False)
def workers() -> None:
    """See which workers are there, and start them anew.

    \b
    collectors --app examples.airports workers list
    """


@workers.command("list", short_help="List the workers that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_workers(wanted: Wanted, /, *, as_json: bool) -> None:
    """List the workers that have reported themselves, and their queues.

    \b
    collectors --app examples.airports workers list
    """
    from celery_collectors.cli.output import print_json
    from celery_collectors.cli.place import note_replaced_broker, opened
    from celery_collectors.cli.tables import print_workers

    with opened(wanted, worker=False) as place:
        note_replaced_broker(place)
        rows = [_row(beat) for beat in place.collectors.workers()]
    if as_json:
        return print_json({"version": 1, "workers": rows})
    if not rows:
        return click.echo("no worker is there", err=True)
    return print_workers(rows, sys.stdout)


@workers.command("restart", short_help="Have workers end, and see them back.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=completing.workers)
@click.option("--all", "every", is_flag=True, help="All of them, one after the other.")
@click.option("--within", type=duration, default="60s", metavar="DURATION", help="How long each may take. Default 60s.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def restart(wanted: Wanted, /, *, names: tuple[str, ...], every: bool, within: float, as_json: bool) -> None:
    """Have each worker NAME end what it runs, and wait until it is back.

    One after the other, so that the others go on meanwhile. What keeps it
    running starts it again: collectors up, systemd, a container engine. If
    nothing does, this says so and ends with 1. The part of a name before the @
    is enough.

    \b
    collectors --app examples.airports workers restart --all
    """
    from celery_collectors.cli.output import print_json
    from celery_collectors.cli.place import opened, refuse_unreachable_broker

    if bool(names) == every:
        raise Complaint("which workers?", hint="name them, or say --all; 'workers list' shows them")
    with opened(wanted, worker=False) as place:
        refuse_unreachable_broker(place)
        chosen = _chosen(names, [beat.worker for beat in place.collectors.workers()], place.command)
        for name in chosen:
            took_s = _restart(place, name, within)
            click.echo(f"{name}: back after {took_s:.1f} s", err=True)
    if as_json:
        print_json({"version": 1, "restarted": chosen})


def _row(beat: WorkerBeat) -> dict[str, Any]:
    return {
        "name": beat.worker,
        "queues": list(beat.queues),
        "pool": beat.pool,
        "processes": beat.processes,
        "heard_at": datetime.fromtimestamp(beat.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "package": beat.version,
    }


def _chosen(names: Iterable[str], there: list[str], command: str) -> list[str]:
    """The workers of these names, or all; each must be there.

    Raises:
        Complaint: naming those that are.
    """
    if not there:
        raise Complaint("no worker is there", hint=f"start one: {command} worker", code=ExitCode.FAILED)
    found = [(name, [one for one in there if name in (one, one.partition("@")[0])]) for name in names]
    for name, fitting in found:
        if len(fitting) != 1:
            said = f"fits {len(fitting)} workers" if fitting else "is no worker that is there"
            raise Complaint(f"{name!r} {said}", hint=f"there are {', '.join(there)}")
    return [fitting[0] for _, fitting in found] or there


def _restart(place: Place, name: str, within_s: float) -> float:
    """Ask it to end, and wait until it has been away and answers again; return the seconds that took.

    Raises:
        Complaint: if that does not come about.
    """
    control = place.collectors.app.control
    others = {beat.worker for beat in place.collectors.workers()} - {name}
    asked_s, was_away = time.monotonic(), False
    place.collectors.end_worker(name)
    while (took_s := time.monotonic() - asked_s) < within_s:
        answers = bool(control.ping(destination=[name, *_after(place, name, others)], timeout=ANSWER_S))
        if answers and was_away:
            return took_s
        was_away = was_away or not answers
        time.sleep(POLL_S)
    raise Complaint(
        f"{name} was asked to end, and was not back within {within_s:g} s",
        hint="it ends what it runs first; if nothing keeps it running, start it again, perhaps by collectors up",
        code=ExitCode.FAILED,
    )


def _after(place: Place, name: str, others: set[str]) -> list[str]:
    """The engine's own worker has another number each time; everybody else comes back under the same name."""
    stem = name.partition("@")[0].rpartition("-")[0]
    if place.home is None or not stem.startswith("embedded-"):
        return []
    there = [beat.worker for beat in place.collectors.workers()]
    return [worker for worker in there if worker.startswith(stem) and worker not in others | {name}]
