"""``collectors up``: workers, the page and Flower by one command, on the engine or on configured servers."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.duration import duration
from celery_collectors.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from celery_collectors.cli.place import Place
    from celery_collectors.cli.wanted import Wanted
    from celery_collectors.up.flower_login import Login
    from celery_collectors.up.keeping import Say, Stop
    from celery_collectors.up.parts import Part, WorkerOptions

PORT, FLOWER_PORT, GRACE = "8000", "5555", "10s"
POOLS = ("prefork", "threads", "solo")
_OF_THE_ENGINE = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "COLLECTORS_LEDGER", "COLLECTORS_FORCED_PAYLOADS")

PORT_MAX = 65535


def port_number(text: str) -> int:
    """An option's type; a bad one is a usage error."""
    if text.isascii() and text.isdecimal() and 0 < int(text) <= PORT_MAX:
        return int(text)
    raise click.BadParameter(f"a port is a number from 1 to {PORT_MAX}, not {text!r}")


worker_options = (
    click.option("--concurrency", type=click.IntRange(1), metavar="N", help="Slots of a worker. Default 4 to 8."),
    click.option("--pool", type=click.Choice(POOLS), default="prefork", show_default=True, help="Kind of slots."),
    click.argument("more", nargs=-1, metavar="[-- WORKER'S ARGUMENTS]"),
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to run: a port is ``None`` where there is no such part."""

    workers: int
    options: WorkerOptions
    port: int | None
    flower_port: int | None
    grace_s: float
    label: str


def with_worker_options(command: Any) -> Any:
    """Let a command take what ``worker`` takes."""
    for option in reversed(worker_options):
        command = option(command)
    return command


@click.command(short_help="Run workers, the page and Flower until Ctrl-C.")
@click.option("--workers", type=click.IntRange(1, 100), default=1, metavar="N", help="How many. Default 1.")
@click.option("--port", type=port_number, default=PORT, metavar="PORT", help="The page's, on 127.0.0.1. Default 8000.")
@click.option(
    "--flower-port", type=port_number, default=FLOWER_PORT, metavar="PORT", help="Flower's, likewise. Default 5555."
)
@click.option("--no-web", is_flag=True, help="Leave the page out.")
@click.option("--no-flower", is_flag=True, help="Leave Flower out.")
@click.option(
    "--grace", type=duration, default=GRACE, metavar="DURATION", help="What runs has so long to end. Default 10s."
)
@click.option("--banner", is_flag=True, help="Let workers print Celery's banner.")
@click.option("--label", default="up", hidden=True, help="What our own lines begin with.")
@with_worker_options
@click.pass_obj
def up(wanted: Wanted, /, *, no_web: bool, no_flower: bool, **asked: Any) -> None:
    """Run workers, the page and Flower until Ctrl-C.

    What ends is started again; a part that ends at once, again and again,
    ends all. With no broker configured the embedded engine runs, too. Nothing
    is left behind, also if this command is killed. What comes after -- goes to
    celery worker.

    \b
    collectors --app examples.airports up
    collectors --app news up --workers 2 --no-web -- --loglevel WARNING
    """
    asked["port"] = _wanted_port(asked["port"], no_web, "the page", "web")
    asked["flower_port"] = _wanted_port(asked["flower_port"], no_flower, "Flower", "flower")
    told = Asked(options=options_of(asked), **_the_rest(asked))
    _refuse_taken_ports(told)
    until_told(lambda stop: _run(wanted, told, stop))


def options_of(asked: dict[str, Any]) -> WorkerOptions:
    """What was said about workers; takes it out of the rest.

    Raises:
        Complaint: for what is no argument of a worker's.
    """
    from celery_collectors.embedded import default_concurrency
    from celery_collectors.up.parts import WorkerOptions

    more = asked["more"]
    if more and not more[0].startswith("-"):
        raise Complaint(f"{more[0]!r} is one argument too many", hint="what is for celery worker comes after --")
    return WorkerOptions(
        concurrency=asked["concurrency"] or default_concurrency(),
        pool=asked["pool"],
        banner=asked.get("banner", False),
        more=more,
    )


def _the_rest(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "workers": asked["workers"],
        "port": asked["port"],
        "flower_port": asked["flower_port"],
        "grace_s": asked["grace"],
        "label": asked["label"],
    }


def _wanted_port(port: int, left_out: bool, name: str, extra: str) -> int | None:
    """The port of a part that can run; one that isn't installed is said in a line, and left out."""
    from celery_collectors.up import parts

    if left_out:
        return None
    if parts.has_web() if extra == "web" else parts.has_flower():
        return port
    click.echo(f"note: without {name}, which pip install 'celery-collectors[{extra}]' brings", err=True)
    return None


def _refuse_taken_ports(asked: Asked) -> None:
    if asked.port is not None:
        refuse_taken("the page", asked.port, "--port")
    if asked.flower_port is not None:
        refuse_taken("Flower", asked.flower_port, "--flower-port")


def refuse_taken(name: str, port: int, option: str, host: str = "127.0.0.1") -> None:
    """Say so before anything is started.

    Raises:
        Complaint: naming the port, and what to do.
    """
    from celery_collectors.up import parts
    from celery_collectors.up.ports import why_not

    if why := why_not(host, port):
        or_else = "end what has it (another 'collectors up'?)" if host == parts.HOST else "mend --host"
        raise Complaint(
            f"{name} can't have port {port} on {host}: {why}",
            hint=f"choose another with {option}, or {or_else}",
            code=ExitCode.FAILED,
        )


def _run(wanted: Wanted, asked: Asked, stop: Stop) -> None:
    from celery_collectors.up.keeping import keep_running

    with served(wanted) as place:
        login = flower_login() if asked.flower_port else None
        parts = _parts(place, asked, login)
        with speaking(parts, asked.label) as say:
            _greet(place, asked, login, say)
            _announce(place, asked, login, stop, say)
            keep_running(parts, stop=stop, grace_s=asked.grace_s, say=say)
            say("", "stopped")


def until_told(run: Callable[[Stop], None]) -> None:
    """Run something that ends when somebody asks it to; that is no failure, also before it has started."""
    from celery_collectors.up.keeping import Stop

    stop = Stop()
    try:
        stop.listen()
        run(stop)
    except KeyboardInterrupt:
        click.echo("stopped before it had started", err=True)


@contextmanager
def served(wanted: Wanted) -> Iterator[Place]:
    """The app and its servers, which answer; an embedded engine leaves the work to us, and has ended afterwards.

    Raises:
        UnavailableError: when a configured server does not answer.
    """
    from celery_collectors import embedded
    from celery_collectors.cli.place import note_replaced_broker, opened, refuse_unreachable_broker

    home = None
    try:
        with opened(wanted, worker=False) as place:
            home = place.home
            note_replaced_broker(place)
            refuse_unreachable_broker(place)
            place.collectors.list(1)
            if home is None:
                yield place
                return
            with embedded.provided(home):
                yield place
    finally:
        if home is not None:
            embedded.await_end(home)


@contextmanager
def speaking(parts: Sequence[Part], label: str) -> Iterator[Say]:
    """Print lines under the parts' labels, and our own under ours, while the block lasts."""
    from celery_collectors.cli.look import has_colour
    from celery_collectors.up.voices import Voices

    voices = Voices([label, *(part.label for part in parts)], colour=has_colour(sys.stdout))
    try:
        yield lambda name, line: voices.say(name or label, line)
    finally:
        voices.close()


def flower_login() -> Login:
    """Flower's user and password: as FLOWER_BASIC_AUTH says, else those of the file.

    Raises:
        Complaint: when nobody could come in by it, or the file can't be made.
    """
    from celery_collectors.up import flower_login

    if own := os.environ.get("FLOWER_BASIC_AUTH"):
        if not all(":" in one for one in own.split(",")):
            raise Complaint("FLOWER_BASIC_AUTH is not user:password, so nobody could come in", hint="mend it")
        return flower_login.Login(own, None)
    path = flower_login.path_in(os.environ)
    try:
        return flower_login.kept(path)
    except OSError as error:
        raise Complaint(
            f"Flower's password can't be kept in {path}: {error.strerror or error}",
            hint="set FLOWER_BASIC_AUTH=user:password, or XDG_STATE_HOME to a folder of your own",
            code=ExitCode.FAILED,
        ) from error


def node_name(number: int) -> str:
    """A worker's name among all workers: two of one name confuse Celery, so it is ours alone."""
    return f"up-{os.getpid()}-{number}"


def _parts(place: Place, asked: Asked, login: Login | None) -> list[Part]:
    from celery_collectors.up import parts

    numbers = range(1, asked.workers + 1)
    several = asked.workers > 1
    found = [
        parts.worker(place.app_name, node_name(number), asked.options, number=number if several else None)
        for number in numbers
    ]
    if asked.port is not None:
        found.append(parts.web(place.app_name, port=asked.port, flower_port=asked.flower_port))
    if asked.flower_port is not None and login is not None:
        found.append(parts.flower(place.app_name, host=parts.HOST, port=asked.flower_port, login=login.text))
    return found


def _greet(place: Place, asked: Asked, login: Login | None, say: Say) -> None:
    """Where everything is, before it says anything itself."""
    from celery_collectors.up.parts import HOST

    say("", f"{place.app_name} on {_servers(place)}")
    if place.home is not None:
        urls = " ".join(f"{name}={shlex.quote(os.environ[name])}" for name in _OF_THE_ENGINE)
        say("", f"for another terminal: export {urls}")
    if asked.port is not None:
        say("", f"the page: http://{HOST}:{asked.port}")
    if login is not None:
        say("", f"Flower: http://{HOST}:{asked.flower_port}, {login}")
    say("", "Ctrl-C stops all")


def _servers(place: Place) -> str:
    from celery_collectors.cli.place import broker_connection
    from celery_collectors.dispatch import broker_name
    from celery_collectors.settings import public_url

    if place.home is not None:
        return f"the embedded engine in {place.home}"
    return f"{broker_name(broker_connection(place))}, ledger {public_url(place.collectors.ledger_url)}"


def _announce(place: Place, asked: Asked, login: Login | None, stop: Stop, say: Say) -> None:
    """Tell when workers, page and Flower answer, each from a thread that nobody has to wait for."""
    from celery_collectors.up import readiness
    from celery_collectors.up.parts import HOST

    queue = place.collectors.settings.queue
    names = {node_name(number) for number in range(1, asked.workers + 1)}

    def workers_are_there() -> bool:
        return names <= {beat.worker.partition("@")[0] for beat in place.collectors.workers()}

    def tell(text: str) -> None:
        if not stop.times:
            say("", text)

    if not _names_itself(asked.options):
        readiness.announce(workers_are_there, f"ready: {_count(asked.workers)} on the queue {queue}", tell)
    if asked.port is not None:
        url = f"http://{HOST}:{asked.port}"
        readiness.announce(lambda: readiness.answers(url), f"ready: the page answers at {url}", tell)
    if login is not None:
        url = f"http://{HOST}:{asked.flower_port}"
        first = login.text.split(",")[0]  # Flower takes several logins, with commas
        told = f"ready: Flower answers at {url} and knows the worker{'s' * (asked.workers > 1)}"
        readiness.announce(lambda: readiness.flower_knows_workers(url, first), told, tell)


def _names_itself(options: WorkerOptions) -> bool:
    return any(one.startswith(("-n", "--hostname")) for one in options.more)


def _count(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"
