"""``collectors requests result``: hand over what a request came to, however much it is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.completing import ids
from celery_collectors.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from celery_collectors.cli.output import OutputFile
    from celery_collectors.cli.wanted import Wanted
    from celery_collectors.handle import Request
    from celery_collectors.model import Report

FORMATS = ("json", "ndjson", "csv", "parquet")


@click.command("result", short_help="Print a request's result, or its items.")
@click.argument("request_id", metavar="ID", shell_complete=ids)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="json",
    show_default=True,
    help="The result as JSON; or the items, one a line, or as a table.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it to FILE.")
@click.pass_obj
def result(wanted: Wanted, /, *, request_id: str, form: str, output: Path | None) -> None:
    """Print what the request ID came to.

    As json that is what its process stage returned; without such a stage, all
    of its items. As ndjson it is the items, cleaned if there is a cleanup
    stage, one a line and one at a time, however many there are. As csv they
    have a column for each key; a cell that a spreadsheet would run has an
    apostrophe before it. As parquet a column has the type of its values, or
    text where these differ. A request that failed or was cancelled has the items
    that had been collected.

    \b
    collectors --app examples.airports requests result 3f8a21 --format ndjson
    collectors --app news requests result 3f8a21 --format csv -o items.csv
    collectors --app news requests result 3f8a21 --format parquet -o items.parquet
    """
    from celery_collectors.cli.output import OutputFile
    from celery_collectors.cli.place import opened
    from celery_collectors.cli.requests import find

    if form == "parquet":
        _refuse_parquet(output)
    file = OutputFile(output) if output else None
    with opened(wanted, worker=False) as place:
        request = find(place.collectors, request_id)
        report = request.report()
        if not report.is_final:
            raise Complaint(
                f"request {report.request_id} is still {report.state}, and has no result yet",
                hint="wait for its end, or look at it with 'requests show'",
                code=ExitCode.FAILED,
            )
        if form == "parquet":
            _hand_over_parquet(request, file)
        else:
            _hand_over(_in_form(form, request, report), file)


def _refuse_parquet(output: Path | None) -> None:
    """Before anything is opened: it is written by another package, and is nothing for a terminal."""
    from celery_collectors.cli.parquet_table import refuse_without_pyarrow

    refuse_without_pyarrow()
    if output is None and sys.stdout.isatty():
        raise Complaint(
            "Parquet is no text, and a terminal can't show it", hint="give a file with -o FILE, or pipe it on"
        )


def _hand_over_parquet(request: Request, file: OutputFile | None) -> None:
    from celery_collectors.cli.output import print_bytes
    from celery_collectors.cli.parquet_table import write_parquet

    def fill(place: IO[bytes]) -> None:
        write_parquet(request.items, place)

    return print_bytes(fill) if file is None else file.fill(fill)


def _in_form(form: str, request: Request, report: Report) -> Iterable[str]:
    from celery_collectors.cli.csv_table import csv_lines

    if form == "csv":
        return csv_lines(request.items)
    return _lines(request.items()) if form == "ndjson" else _whole(request, report)


def _whole(request: Request, report: Report) -> Iterable[str]:
    from celery_collectors.cli.output import json_array
    from celery_collectors.cli.text import as_json

    has_items_only = "process" not in report.stages and report.result is None
    return json_array(request.items()) if has_items_only else [as_json(report.result)]


def _lines(items: Iterable[Any]) -> Iterator[str]:
    """Each item as a line, with what parts it from the one before.

    >>> "".join(_lines([1, {"a": None}]))
    '1\\n{"a": null}'
    """
    from celery_collectors.cli.text import as_json

    between = ""
    for item in items:
        yield between + as_json(item, indent=None)
        between = "\n"


def _hand_over(pieces: Iterable[str], file: OutputFile | None) -> None:
    from celery_collectors.cli.output import print_text

    pieces = iter(pieces)
    first = next(pieces, None)  # before anything is replaced: an error is one already
    whole: Iterable[str] = () if first is None else chain([first], pieces)
    if file is not None and first is None:
        file.fill(lambda _: None)  # a line without anything would be no item
    elif file is not None:
        file.write(whole)
    elif first is not None:
        print_text(whole, coloured=False)
