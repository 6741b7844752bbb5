"""``collectors test``: one collector, in this process, with what it finds and what goes wrong."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from celery_collectors.cli.completing import names
from celery_collectors.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from celery_collectors import Collectors
    from celery_collectors.cli.wanted import Wanted
    from celery_collectors.model import Outcome


@click.command("test", short_help="Try one collector in this process.")
@click.argument("name", shell_complete=names)
@click.argument("topic")
@click.option("--json", "as_json", is_flag=True, help="Print outcome and items as one JSON object.")
@click.pass_obj
def try_collector(wanted: Wanted, /, *, name: str, topic: str, as_json: bool) -> None:
    """Run the collector NAME once for TOPIC: what it finds, how long it takes.

    In this process, within its time limit, without broker, ledger and
    stages. Items go to stdout. Ends with 1 if it fails, and shows where.

    \b
    collectors --app examples.airports test runways airport:JFK
    """
    from celery_collectors.cli.place import without_servers

    with without_servers(wanted) as place, redirect_stdout(sys.stderr):
        outcome, items = _tried(place.collectors, name, topic)
    _show(name, topic, outcome, items, as_json)
    sys.exit(int(ExitCode.COMPLETE if outcome.error is None else ExitCode.FAILED))


def _tried(collectors: Collectors, name: str, topic: str) -> tuple[Outcome, list[Any]]:
    from celery_collectors.local import try_one
    from celery_collectors.model import Policy
    from celery_collectors.plan import make_plan

    plan = make_plan(collectors.registry, topic, policy=Policy(), settings=collectors.settings, only=[name])
    return try_one(collectors.registry, plan, collectors.settings)


def _show(name: str, topic: str, outcome: Outcome, items: list[Any], as_json: bool) -> None:
    from celery_collectors.cli.output import json_array, print_json, print_text

    if as_json:
        found = {"name": name, "topic": topic, "outcome": outcome.to_dict(), "items": items}
        return print_json({"version": 1} | found)
    if outcome.error is None:
        print_text(json_array(items))
    return _tell(name, outcome)


def _tell(name: str, outcome: Outcome) -> None:
    """How it went, and for an error where, on stderr."""
    from rich.text import Text

    from celery_collectors.cli.look import console, icon, style, words
    from celery_collectors.cli.text import printable, seconds_text
    from celery_collectors.up.voices import visible

    out = console(sys.stderr)
    error = outcome.error
    for line in (error.traceback or "").splitlines() if error else ():
        out.print(Text(visible(line), style="dim"), soft_wrap=True)
    many = "1 item" if outcome.items == 1 else f"{outcome.items} items"
    said = f"{error.type}: {error.message}" if error else many
    head = (f"{icon(outcome.state, out.encoding)} {words(outcome.state)}", style(outcome.state))
    rest = printable(f"{name}: {said} in {seconds_text(outcome.run_s)}")
    out.print(Text.assemble(head, "  ", rest), soft_wrap=True)
