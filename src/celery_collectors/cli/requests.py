"""``collectors requests list|show``: look at requests that were opened some time, somewhere."""

from __future__ import annotations

import re
import sys
import uuid
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from celery_collectors.cli.complaints import Complaint, Group
from celery_collectors.cli.completing import ids
from celery_collectors.cli.since import since
from celery_collectors.errors import RequestUnknown

if TYPE_CHECKING:
    from celery_collectors import Collectors
    from celery_collectors.cli.wanted import Wanted
    from celery_collectors.events import Event
    from celery_collectors.handle import Request
    from celery_collectors.ledger.finding import Summary
    from celery_collectors.model import Report

PREFIX_MIN_CHARS = 6
NEWEST = 200
_CURSOR = re.compile(r"[0-9]+:[0-9a-f-]{36}")
_STATES = (
    "collecting", "gathering", "cleaning", "processing", "complete", "partial", "failed", "cancelled"
)  # fmt: skip


@click.group(cls=Group, no_args_is_help=False)
def requests() -> None:
    """Look at requests, those in flight and those that ended, and control them.

    \b
    collectors --app examples.airports requests list
    """


@requests.command("show", short_help="Show one request's report and result.")
@click.argument("request_id", metavar="ID", shell_complete=ids)
@click.option("--events", is_flag=True, help="Show everything that happened, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_obj
def show(wanted: Wanted, /, *, request_id: str, events: bool, as_json: bool) -> None:
    """Show the report and the result of the request ID.

    The first six characters of an id are enough, if they are those of one of
    the newest 200 requests only.

    \b
    collectors --app examples.airports requests show 3f8a21
    """
    from celery_collectors.cli.place import note_replaced_broker, opened

    with opened(wanted, worker=False) as place:
        try:
            request = find(place.collectors, request_id)
        except RequestUnknown:
            note_replaced_broker(place)  # it may be there
            raise
        report = request.report()
        happened = request.recorded() if events else None
        if as_json:
            _print_as_json(report, happened)
        else:
            print_whole(report, happened)


def find(collectors: Collectors, text: str) -> Request:
    """The request with this id, or the only new one whose id begins so.

    Raises:
        RequestUnknown: when there is none.
        Complaint: when the text is too short, or fits several.
    """
    text = text.strip().lower()
    try:
        return collectors.get(str(uuid.UUID(text)))
    except ValueError:
        pass
    if len(text) < PREFIX_MIN_CHARS:
        raise Complaint(f"{text!r} is too short for an id", hint=f"give at least {PREFIX_MIN_CHARS} characters")
    newest = collectors.list(NEWEST).requests
    return collectors.get(_only_one(text, [one.request_id for one in newest if one.request_id.startswith(text)]))


def _only_one(text: str, ids: list[str]) -> str:
    if len(ids) > 1:
        raise Complaint(f"{text!r} fits {len(ids)} requests: {', '.join(ids[:5])}", hint="give more of the id")
    return ids[0] if ids else text


def _print_as_json(report: Report, events: list[Event] | None) -> None:
    import msgspec

    from celery_collectors.cli.output import print_json

    more = {} if events is None else {"events": msgspec.to_builtins(events)}
    print_json(report.to_dict() | more)


def print_whole(report: Report, events: list[Event] | None) -> None:
    """Print the events, if there are any, the report, and the result, if there is one."""
    from celery_collectors.cli.lines import timed
    from celery_collectors.cli.output import print_json
    from celery_collectors.cli.tables import print_report

    since_ms = report.created_at.timestamp() * 1000 if report.created_at else 0.0
    for event in events or ():
        click.echo(timed(event, since_ms))
    print_report(report, sys.stdout)
    if report.result is not None:
        print_json(report.result)


@requests.command("list", short_help="List requests, the newest first.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@click.option("--state", type=click.Choice(_STATES), metavar="STATE", help="Only those in this state.")
@click.option("--topic", metavar="GLOB", help="Only those for such topics, like 'airport:*'.")
@click.option("--since", "opened_since", type=since, metavar="WHEN", help="Only those opened since: 2h (ago), a date.")
@click.option("--cursor", metavar="CURSOR", help="Go on from an earlier list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_requests(wanted: Wanted, /, *, limit: int, cursor: str | None, as_json: bool, **asked: Any) -> None:
    """List requests, the newest first.

    States: collecting, gathering, cleaning, processing, complete, partial,
    failed, cancelled.

    \b
    collectors --app examples.airports requests list --state failed
    collectors --app news requests list --topic 'py*' --since 24h --json
    """
    from celery_collectors.cli.output import print_json
    from celery_collectors.cli.place import note_replaced_broker, opened

    if cursor and not _CURSOR.fullmatch(cursor):
        raise Complaint(f"{cursor!r} is not a cursor", hint="give the one that the list before ended with")
    with opened(wanted, worker=False) as place:
        note_replaced_broker(place)
        found, following = _newest(place.collectors, limit, cursor, Filter(**asked))
    if as_json:
        return print_json({"version": 1, "requests": [one.to_dict() for one in found], "cursor": following})
    return _print_list(found, following)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which requests are wanted; ``None`` is no condition."""

    state: str | None
    topic: str | None
    opened_since: datetime | None

    def takes(self, one: Summary) -> bool:
        """Whether a request is among them."""
        return (
            self.state in (None, str(one.state))
            and (self.topic is None or fnmatchcase(one.topic, self.topic))
            and (self.opened_since is None or (one.created_at is not None and one.created_at >= self.opened_since))
        )

    def is_past(self, cursor: str) -> bool:
        """Whether all that follow are too old; a cursor begins with the time, in ms, of what it follows."""
        return self.opened_since is not None and float(cursor.partition(":")[0]) < self.opened_since.timestamp() * 1000


def _newest(collectors: Collectors, limit: int, cursor: str | None, wanted: Filter) -> tuple[list[Summary], str | None]:
    """Page by page until there are enough; no page is longer than what is missing, so none is lost."""
    found: list[Summary] = []
    while True:
        page = collectors.list(limit - len(found), cursor)
        found += [one for one in page.requests if wanted.takes(one)]
        cursor = page.cursor
        if cursor is None or wanted.is_past(cursor):
            return found, None
        if len(found) >= limit:
            return found, cursor


def _print_list(found: list[Summary], following: str | None) -> None:
    from celery_collectors.cli.tables import print_requests

    if not found:
        click.echo("no requests", err=True)
        return
    print_requests(found, sys.stdout)
    if following:
        click.echo(f"more: --cursor {following}", err=True)
