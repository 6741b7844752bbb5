"""The command ``collectors`` and its own options."""

from __future__ import annotations

import io
import os
import platform
import sys

import click

from celery_collectors.cli.alone import flower, sweeper, web, worker
from celery_collectors.cli.collect import collect
from celery_collectors.cli.complaints import Group
from celery_collectors.cli.completion import completion
from celery_collectors.cli.config import config
from celery_collectors.cli.control import cancel, priority, retry
from celery_collectors.cli.doctor import doctor
from celery_collectors.cli.init import init
from celery_collectors.cli.listing import list_collectors, show_collector
from celery_collectors.cli.requests import requests
from celery_collectors.cli.result import result
from celery_collectors.cli.trying import try_collector
from celery_collectors.cli.up import up
from celery_collectors.cli.wanted import wanted_from
from celery_collectors.cli.watch import watch
from celery_collectors.cli.workers import workers
from celery_collectors.worker import began  # noqa: F401 - early, as Celery's command line loads this one


def _print_version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(
            f"celery-collectors {_version('celery-collectors')} "
            f"(Celery {_version('celery')}, Python {platform.python_version()})"
        )
        ctx.exit()


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@click.group(cls=Group, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-A", "--app", metavar="APP", help="Where the Celery app is: package.module[:attribute].")
@click.option("--broker", metavar="URL", help="Use this broker instead of the embedded engine.")
@click.option("--ledger", metavar="URL", help="The Redis or Valkey with the ledger, for --broker.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def collectors(ctx: click.Context, *, app: str | None, broker: str | None, ledger: str | None, debug: bool) -> None:
    """Ask many flaky sources about a topic: one clean result, on time, and an honest report of who failed.

    \b
    collectors --app examples.airports collect airport:JFK

    The app comes from --app, from COLLECTORS_APP, or from app under
    [tool.collectors] in pyproject.toml; the current folder is importable.
    With no broker given, by --broker or CELERY_BROKER_URL, an embedded engine
    is started and nothing else need be running.

    Exit status: 0 complete, 1 failed, 2 usage, 3 partial, 4 nothing before the
    deadline, 5 broker or ledger unreachable, 6 not found, 7 cancelled,
    130 interrupted.
    """
    del debug  # read from the context by whoever prints an error
    ctx.obj = wanted_from(ctx, app=app, broker=broker, ledger=ledger)


@click.group(cls=Group, no_args_is_help=False, name="collectors", hidden=True)
def the_collectors() -> None:
    """Look at the collectors that the app declares, and try them.

    \b
    collectors --app examples.airports collectors list
    """


OF_COLLECTORS = (list_collectors, show_collector, try_collector)
SERVING = (up, worker, web, flower, sweeper)
for command in OF_COLLECTORS:
    the_collectors.add_command(command)
for command in (watch, cancel, retry, priority, result):
    requests.add_command(command)
for command in (collect, requests, *OF_COLLECTORS, the_collectors, workers, doctor, *SERVING, init, config, completion):
    collectors.add_command(command)


def main() -> None:
    """Run ``collectors``; ends the process."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - for good
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not cost the answer
    collectors(prog_name="collectors")
