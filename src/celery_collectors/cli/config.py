"""``collectors config show``: every setting, its value, and who said so."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from celery_collectors.cli.complaints import Group

if TYPE_CHECKING:
    from celery_collectors import Collectors
    from celery_collectors.cli.wanted import Wanted
    from celery_collectors.settings import Settings

EMBEDDED = "(the embedded engine's)"
_PASSWORD = re.compile(r"(://[^/@:]*:)[^/]*@")
_SECRET = re.compile(r"((?:password|secret|token)=)[^&]*", re.IGNORECASE)


@click.group(cls=Group, no_args_is_help=False)
def config() -> None:
    """Look at the settings.

    \b
    collectors --app examples.airports config show
    """


@config.command("show", short_help="Show every setting and where it comes from.")
@click.option("--set", "only_set", is_flag=True, help="Only those that are not as by default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_config(wanted: Wanted, /, *, only_set: bool, as_json: bool) -> None:
    """Show every setting, its value, and where that comes from.

    The nearest to the code wins: Collectors(…), then COLLECTORS_… variables,
    collectors.toml, pyproject.toml. Passwords are masked. Starts nothing.

    \b
    collectors --app examples.airports config show --set
    """
    from celery_collectors.cli.output import print_json
    from celery_collectors.cli.tables import print_settings

    rows = [row for row in _rows(wanted) if not only_set or row["from"] != "default"]
    if as_json:
        return print_json({"version": 1, "settings": rows})
    return print_settings(rows, sys.stdout)


def _rows(wanted: Wanted) -> list[dict[str, Any]]:
    from celery_collectors.settings import Settings

    before = Settings.load()
    name = wanted.app or before.app
    collectors = _loaded(wanted, name) if name else None
    if collectors is None:
        click.echo("note: no app is given; what its code sets is not shown", err=True)
    app_name = collectors.app.main if collectors else None
    places = Settings.places(app_name=app_name)
    without = Settings.load(app_name=app_name)
    settings = collectors.settings if collectors else without
    rows = {
        field: {"name": field, "value": getattr(settings, field), "from": places.get(field, "default")}
        for field in Settings.__struct_fields__
    }
    for field, row in rows.items():
        if row["value"] != getattr(without, field):
            row["from"] = "Collectors(…)"
    _fill_in(rows, wanted, before, collectors)
    return [row | {"value": masked(row["value"])} for row in rows.values()]


def _loaded(wanted: Wanted, name: str) -> Collectors:
    """The app as it is by itself: no server is chosen for it."""
    from pathlib import Path

    from celery_collectors.cli.app import load, make_importable, refuse_what_is_not_there

    make_importable(Path.cwd())
    if wanted.celery_app is None:
        refuse_what_is_not_there(name)
    return load(wanted, name)


def _fill_in(
    rows: dict[str, dict[str, Any]], wanted: Wanted, settings: Settings, collectors: Collectors | None
) -> None:
    """What the command line says, and what stands in where nobody says anything."""
    from celery_collectors.cli.place import home_of

    for field in ("app", "broker", "ledger"):
        if said := getattr(wanted, field):
            rows[field] |= {"value": said, "from": f"--{field}"}
    broker, ledger, home = rows["broker"], rows["ledger"], rows["home"]
    if broker["value"] is None and (url := os.environ.get("CELERY_BROKER_URL")):
        broker |= {"value": url, "from": "CELERY_BROKER_URL"}
    if broker["value"] is None:
        broker["value"] = ledger["value"] = EMBEDDED
        if home["value"] is None and rows["app"]["value"]:
            home["value"] = str(home_of(rows["app"]["value"], settings))
    elif ledger["value"] is None and collectors is not None and _is_redis(backend := _backend(collectors)):
        ledger |= {"value": backend, "from": "the result backend"}


def _backend(collectors: Collectors) -> str:
    return str(collectors.app.conf.result_backend or "")


def _is_redis(url: str) -> bool:
    from celery_collectors.settings import is_redis_url

    return is_redis_url(url)


def masked(url: Any) -> Any:
    """A URL without its password; anything else as it is.

    >>> masked("redis://me:secret@host/1?password=secret"), masked("amqp://u:a/b@host")
    ('redis://me:**@host/1?password=**', "(can't be read)")
    """
    if not isinstance(url, str) or "://" not in url:
        return url
    if not _is_readable(url):
        return "(can't be read)"
    return _SECRET.sub(r"\1**", _PASSWORD.sub(r"\1**@", url))


def _is_readable(url: str) -> bool:
    """Not if a password with an unescaped character may have spread into other parts."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is the check
    except ValueError:
        return False
    return "@" not in parts.path + parts.query + parts.fragment
