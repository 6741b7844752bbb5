"""``collectors worker|web|flower|sweeper``: one part alone, as a container or a unit of systemd runs it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.duration import duration, seconds
from celery_collectors.cli.exit_codes import ExitCode
from celery_collectors.cli.up import (
    FLOWER_PORT,
    GRACE,
    PORT,
    flower_login,
    node_name,
    options_of,
    port_number,
    refuse_taken,
    served,
    speaking,
    until_told,
    with_worker_options,
)

if TYPE_CHECKING:
    from celery_collectors.cli.place import Place
    from celery_collectors.cli.wanted import Wanted
    from celery_collectors.up.keeping import Stop
    from celery_collectors.up.parts import Part

SWEEP_ENDS_S = 5.0
_HOST = click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")


@click.command(short_help="Run one worker.")
@click.option(
    "--grace", type=duration, default=GRACE, metavar="DURATION", help="On the engine: what runs has so long to end."
)
@with_worker_options
@click.pass_obj
def worker(wanted: Wanted, /, *, grace: float, **asked: Any) -> None:
    """Run one worker until it is told to stop.

    On configured servers this becomes celery worker itself, with all its
    signals. What comes after -- goes to it.

    \b
    collectors --app examples.airports worker
    collectors --app news worker --concurrency 16 -- --max-tasks-per-child 100
    """
    from celery_collectors.up import parts

    options = options_of(asked)
    _become(wanted, lambda place: parts.worker(place.app_name, node_name(1), options), grace)


@click.command(short_help="Run Flower.")
@_HOST
@click.option("--port", type=port_number, default=FLOWER_PORT, metavar="PORT", help="Its port. Default 5555.")
@click.pass_obj
def flower(wanted: Wanted, /, *, host: str, port: int) -> None:
    """Run Flower until it is told to stop.

    Its password is FLOWER_BASIC_AUTH (user:password), else one that is made
    once, shown once, and kept in a file.

    \b
    collectors --app examples.airports flower --port 5556
    """
    from celery_collectors.up import parts

    if not parts.has_flower():
        raise Complaint("Flower is not installed", hint="pip install 'celery-collectors[flower]'")
    refuse_taken("Flower", port, "--port", host)

    def part_of(place: Place) -> Part:
        login = flower_login()  # not before all else is well: a new password is shown once
        click.echo(f"Flower: {_url(host, port)}, {login}")
        return parts.flower(place.app_name, host=host, port=port, login=login.text)

    _become(wanted, part_of, seconds(GRACE))


@click.command(short_help="Run the page and the HTTP interface.")
@_HOST
@click.option("--port", type=port_number, default=PORT, metavar="PORT", help="Its port. Default 8000.")
@click.option("--keys", type=click.Path(path_type=Path), metavar="FILE", help="The file with the hashes of keys.")
@click.option("--name", "names", multiple=True, metavar="HOST", help="A name by which it is called; can be repeated.")
@click.option("--flower", metavar="URL", help="Where a browser finds Flower, to link tasks there.")
@click.pass_obj
def web(
    wanted: Wanted, /, *, host: str, port: int, keys: Path | None, names: tuple[str, ...], flower: str | None
) -> None:
    """Run the page and the HTTP interface until told to stop.

    Whoever can reach it from another machine needs a key, so another --host
    needs --keys.

    \b
    collectors --app examples.airports web --port 8080
    collectors --app news web --flower http://127.0.0.1:5555
    """
    from celery_collectors.cli.place import opened
    from celery_collectors.up import parts

    if not parts.has_web():
        raise Complaint("the page is not installed", hint="pip install 'celery-collectors[web]'")
    refuse_taken("the page", port, "--port", host)
    served = import_module("celery_collectors.web.serve")
    with _until_interrupted(), opened(wanted, worker=True) as place:
        server = served.make_server(place.collectors, host=host, port=port, keys=keys, hosts=names, flower=flower)
        click.echo(f"the page: {_url(host, port)}; Ctrl-C stops it", err=True)
        server.run()


@click.command(short_help="Do what is due, without consuming messages.")
@click.pass_obj
def sweeper(wanted: Wanted, /) -> None:
    """Do what is due until told to stop: deadlines, retries, lost messages.

    Every worker does so, too; one that runs alone does it also while no worker
    is there.

    \b
    collectors --app examples.airports sweeper
    """
    from celery_collectors.cli.place import opened

    told = threading.Event()
    with opened(wanted, worker=False) as place:
        place.collectors.list(1)  # it answers, and is ours to use
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: told.set())
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        thread = place.collectors.sweeper()
        thread.start()
        click.echo(f"sweeping the ledger of {place.app_name}; Ctrl-C stops it", err=True)
        told.wait()
        thread.stop()
        thread.join(SWEEP_ENDS_S)


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """To be told to stop is no failure. The server ends in order first, and then raises the signal again."""
    from celery_collectors.up.keeping import Stop

    Stop().listen()
    with suppress(KeyboardInterrupt):
        yield


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _become(wanted: Wanted, part_of: Callable[[Place], Part], grace_s: float) -> None:
    """Be that process; on the embedded engine be its parent, because somebody has to hold the engine."""

    def run(stop: Stop) -> None:
        with served(wanted) as place:
            part = part_of(place)
            sys.stdout.flush()
            if place.home is None:
                os.execve(part.argv[0], list(part.argv), dict(part.env))
            _be_its_parent(part, stop, grace_s)

    until_told(run)


def _be_its_parent(part: Part, stop: Stop, grace_s: float) -> None:
    from celery_collectors.up.keeping import run_once

    with speaking([], "") as say:
        status = run_once(part, stop=stop, grace_s=grace_s, say=lambda _, line: say("?", line))
    if status:
        raise Complaint(
            f"{part.name} ended with status {status}", hint="what it printed says why", code=ExitCode.FAILED
        )
