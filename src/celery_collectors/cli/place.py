"""Where a command works: the app with its ``Collectors``, on the embedded engine or on configured servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from celery_collectors.cli.app import app_name, load, make_importable, refuse_what_is_not_there
from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.text import printable
from celery_collectors.cli.wanted import Wanted
from celery_collectors.settings import Settings, is_redis_url

if TYPE_CHECKING:
    from kombu import Connection

    from celery_collectors import Collectors
    from celery_collectors.embedded import Addresses

_LIKE_A_BROKER = "mend --broker or CELERY_BROKER_URL, like redis://host:6379/0 or amqp://user:password@host//"
_ESCAPED = "in a password, / @ : # are written %2F %40 %3A %23"
_BROKER_VARIABLES = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a command works with.

    Attributes:
        collectors: The app's ``Collectors``.
        app_name: How the app was found.
        home: The embedded engine's folder; ``None`` with configured servers.
        command: How these commands are called here.
    """

    collectors: Collectors
    app_name: str
    home: Path | None
    command: str


def note(text: str) -> None:
    """One line on stderr for the person at the terminal."""
    click.echo(f"note: {printable(text)}", err=True)


@contextmanager
def opened(wanted: Wanted, *, worker: bool) -> Iterator[Place]:
    """Find the app and reach its servers; the embedded engine runs while the block lasts.

    Args:
        wanted: What was said before the command.
        worker: Whether an embedded worker is needed.
    """
    settings = Settings.load()
    name = app_name(wanted, settings)
    make_importable(Path.cwd())
    broker = wanted.broker or settings.broker or os.environ.get(_BROKER_VARIABLES[0])
    with _configured(wanted, name, broker) if broker else _embedded(wanted, name, settings, worker) as place:
        yield place


@contextmanager
def without_servers(wanted: Wanted) -> Iterator[Place]:
    """Find the app only, its environment as it would be with servers."""
    settings = Settings.load()
    name = app_name(wanted, settings)
    make_importable(Path.cwd())
    broker = wanted.broker or settings.broker or os.environ.get(_BROKER_VARIABLES[0])
    home = None if broker else home_of(name, settings)
    if home:
        _point_at_engine(home)
    else:
        _point_at(broker, wanted.ledger)
    yield Place(collectors=load(wanted, name), app_name=name, home=home, command=wanted.command)


@contextmanager
def running(wanted: Wanted) -> Iterator[Place | None]:
    """As :func:`opened`, unless an embedded engine would have to be started for it."""
    from celery_collectors.embedded import status

    with without_servers(wanted) as place:
        if place.home is None or status(place.home).state == "running":
            yield place
        else:
            yield None


def home_of(name: str, settings: Settings) -> Path:
    """The embedded engine's folder for an app."""
    from celery_collectors.embedded import default_home

    if settings.home:
        return Path(os.path.abspath(Path(settings.home).expanduser()))  # noqa: PTH100 - resolve() would follow links
    return default_home(name, Path.cwd(), os.environ)


@contextmanager
def _configured(wanted: Wanted, name: str, broker: str) -> Iterator[Place]:
    _point_at(broker if wanted.broker or not os.environ.get(_BROKER_VARIABLES[0]) else None, wanted.ledger)
    collectors = load(wanted, name)
    _refuse_without_ledger(collectors, broker)
    yield Place(collectors=collectors, app_name=name, home=None, command=wanted.command)


@contextmanager
def _embedded(wanted: Wanted, name: str, settings: Settings, worker: bool) -> Iterator[Place]:
    """Start the engine and import the app at the same time, so that neither waits for the other."""
    if wanted.ledger:
        raise Complaint("--ledger is for a broker of your own", hint="give --broker too, or leave --ledger out")
    if wanted.celery_app is None:
        refuse_what_is_not_there(name)
    home = home_of(name, settings)
    _point_at_engine(home)
    with _starting(home, name, worker) as started:
        collectors = load(wanted, name)
        started.result()
        yield Place(collectors=collectors, app_name=name, home=home, command=wanted.command)
        collectors.close()


@contextmanager
def _starting(home: Path, name: str, worker: bool) -> Iterator[Future[Addresses]]:
    from celery_collectors import embedded

    engine = embedded.use(home, app=name, project=Path.cwd(), worker=worker)
    with ExitStack() as held, ThreadPoolExecutor(1) as beside:
        yield beside.submit(held.enter_context, engine)


def _point_at(broker: str | None, ledger: str | None) -> None:
    """Before the app is imported: an app may read these then, and they win over what its code says."""
    if broker:
        os.environ.update(dict.fromkeys(_BROKER_VARIABLES, broker))
    if ledger:
        os.environ["COLLECTORS_FORCED_LEDGER"] = ledger


def _point_at_engine(home: Path) -> None:
    """Where the engine in a folder will be is known before it runs."""
    from celery_collectors.embedded import Addresses, Home

    os.environ.update(Addresses(Home(home).socket).environment)


def _refuse_without_ledger(collectors: Collectors, broker: str) -> None:
    from celery_collectors.errors import NoLedgerError

    try:
        urlsplit(collectors.ledger_url).port  # noqa: B018 - reading them is the check
    except NoLedgerError as error:
        like = "the same Redis, perhaps another database" if is_redis_url(broker) else "redis://host:6379/0"
        raise Complaint(
            "a broker is configured, but no ledger",
            hint=f"give --ledger or COLLECTORS_LEDGER, a Redis or Valkey URL ({like})",
        ) from error
    except ValueError as error:
        hint = f"mend --ledger or COLLECTORS_LEDGER, like redis://host:6379/0; {_ESCAPED}"
        raise Complaint("the ledger's URL can't be read", hint=hint) from error


def note_replaced_broker(place: Place) -> None:
    """Say so if the app's code names a broker that the embedded engine stands in for."""
    from kombu.utils.url import maybe_sanitize_url

    own = place.collectors.app.conf.get("broker_url")
    if place.home and own and own != os.environ[_BROKER_VARIABLES[0]]:
        note(f"the embedded engine stands in for {maybe_sanitize_url(own)}; --broker would use that")


def broker_connection(place: Place) -> Connection:
    """The broker, not yet asked.

    Raises:
        Complaint: when nothing can be made of its URL. An error that may quote a password is not passed on.
    """
    try:
        connection: Connection = place.collectors.app.connection_for_write()
        connection.transport  # noqa: B018 - kombu looks at the URL only now
    except (ImportError, KeyError) as error:
        raise Complaint(f"the broker can't be used: {error.args[0]}", hint=_LIKE_A_BROKER) from error
    except Exception as error:
        raise Complaint("the broker's URL can't be read", hint=f"{_LIKE_A_BROKER}; {_ESCAPED}") from error
    return connection


def refuse_unreachable_broker(place: Place) -> None:
    """Better to say it now than to accept a request that waits in the ledger until its deadline.

    Raises:
        BrokerUnavailable: naming the broker and what it said.
    """
    if place.home is not None:
        return  # the engine has just answered
    from celery_collectors.dispatch import broker_unavailable

    with broker_connection(place) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1, interval_max=0.1)
        except Exception as error:
            raise broker_unavailable(connection, error) from error
