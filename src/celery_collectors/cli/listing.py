"""``collectors list|show``: what the app declares; needs no server."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

import click

from celery_collectors.cli.completing import names

if TYPE_CHECKING:
    from celery_collectors.cli.wanted import Wanted
    from celery_collectors.registry import Collector


@click.command("list", short_help="List the collectors that the app declares.")
@click.option("--topic", help="Only those that take this topic.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_collectors(wanted: Wanted, /, *, topic: str | None, as_json: bool) -> None:
    """List the collectors that the app declares, and the topics they take.

    \b
    collectors --app examples.airports list --topic airport:JFK
    """
    from celery_collectors.cli.output import print_json
    from celery_collectors.cli.place import without_servers

    with without_servers(wanted) as place:
        registry, settings = place.collectors.registry, place.collectors.settings
        found = list(registry.collectors.values())
        if topic is not None:
            found = registry.select(registry.topic(topic, max_chars=settings.topic_max_chars))
        rows = [_row(one, settings.timeout_s, settings.retries) for one in found]
    if as_json:
        return print_json({"version": 1, "collectors": rows})
    return _print(rows)


@click.command("show", short_help="Show one collector's settings.")
@click.argument("name", shell_complete=names)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_collector(wanted: Wanted, /, *, name: str, as_json: bool) -> None:
    """Show what is declared of the collector NAME, and where.

    \b
    collectors --app examples.airports show runways
    """
    from celery_collectors.cli.output import print_json
    from celery_collectors.cli.place import without_servers
    from celery_collectors.cli.tables import print_fields
    from celery_collectors.errors import NoCollectorError

    with without_servers(wanted) as place:
        registry, settings = place.collectors.registry, place.collectors.settings
        if (found := registry.collectors.get(name)) is None:
            there = ", ".join(registry.collectors) or "none"
            raise NoCollectorError(f"there is no collector {name!r}; there are {there}")
        row = _row(found, settings.timeout_s, settings.retries) | _origin(found)
    if as_json:
        return print_json({"version": 1, "collector": row})
    shown = row | {"topics": ", ".join(row["topics"]), "timeout_s": f"{row['timeout_s']:g} s", "description": None}
    return print_fields(shown, sys.stdout)


def _origin(collector: Collector) -> dict[str, Any]:
    """Its task's name, the file and line of its function, and all that it says of itself."""
    code = inspect.unwrap(collector.function).__code__
    said = inspect.getdoc(collector.function)
    return {"task": collector.task.name, "file": code.co_filename, "line": code.co_firstlineno, "doc": said}


def _row(collector: Collector, timeout_s: float, retries: int) -> dict[str, Any]:
    said = (inspect.getdoc(collector.function) or "").strip()
    return {
        "name": collector.name,
        "topics": list(collector.topics),
        "timeout_s": timeout_s if collector.timeout_s is None else float(collector.timeout_s),
        "retries": retries if collector.retries is None else collector.retries,
        "kind": "async" if collector.is_async else "sync",
        "description": said.splitlines()[0] if said else None,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    from celery_collectors.cli.tables import print_declared

    if not rows:
        click.echo("no collectors are declared; decorate a function with @collectors.collector", err=True)
        return
    shown = [row | {"topics": ", ".join(row["topics"]), "timeout_s": f"{row['timeout_s']:g} s"} for row in rows]
    print_declared(shown, sys.stdout)
