"""Tables: a report's, a list of requests, the declared collectors, the doctor's findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from celery_collectors.cli.look import console, icon, style, words
from celery_collectors.cli.text import printable, seconds_text

if TYPE_CHECKING:
    from rich.console import Console

    from celery_collectors.ledger.finding import Summary
    from celery_collectors.model import ErrorInfo, Outcome, Report

_WIDE = 110  # from here on errors have a column; below they stand under the table
_NARROW = 60  # below, only what matters most


def print_report(report: Report, stream: IO[str]) -> None:
    """Print what happened to every source."""
    out = console(stream)
    rows = {**report.outcomes, **{f"({name})": stage for name, stage in report.stages.items()}}
    errors = {name: one.error for name, one in rows.items() if one.error}
    _print(_outcomes(rows, out, with_errors=bool(errors) and out.width >= _WIDE), out)
    if out.width < _WIDE:
        for name, error in errors.items():
            out.print(_text(f"{name}: {_error(error)}", style(rows[name].state)), soft_wrap=True)
    if report.error:
        out.print(_text(_error(report.error), style(report.state)), soft_wrap=True)
    out.print(_summary(report, out), soft_wrap=True)
    out.print(Text(f"request {report.request_id}", style="dim"), soft_wrap=True)


def _outcomes(rows: Mapping[str, Outcome], out: Console, *, with_errors: bool) -> Table:
    table = _table("collector")
    table.add_column("state", no_wrap=True)
    for heading in _numbers(out):
        table.add_column(heading, justify="right", no_wrap=True)
    if with_errors:
        table.add_column("error", ratio=1, overflow="fold")
    for name, one in rows.items():
        error = [_text(_error(one.error), style(one.state)) if one.error else ""] if with_errors else []
        table.add_row(_text(name), _state(one.state, out), *_numbers(out, one), *error)
    return table


def _numbers(out: Console, outcome: Outcome | None = None) -> list[str]:
    """The cells of one outcome, or their headings."""
    cells = {
        "attempts": str(outcome.attempts) if outcome else "",
        "items": str(outcome.items) if outcome else "",
        "wait": seconds_text(outcome.wait_s) if outcome else "",
        "run": seconds_text(outcome.run_s) if outcome else "",
    }
    if out.width < _NARROW:
        del cells["attempts"], cells["wait"]
    return list(cells.values() if outcome else cells)


def _state(state: str, out: Console) -> Text:
    return Text(f"{icon(state, out.encoding)} {words(state)}", style=style(state))


def _error(error: ErrorInfo) -> str:
    return f"{error.type}: {error.message}"


def _summary(report: Report, out: Console) -> Text:
    answered = sum(outcome.state in ("ok", "empty") for outcome in report.outcomes.values())
    # Since it was first asked: of one that was retried, that says when somebody did so.
    took = _between(report.created_at, report.finished_at) if report.generation == 1 else ""
    generation = f", generation {report.generation}" if report.generation > 1 else ""
    return Text.assemble(
        (f"{icon(report.state, out.encoding)} {report.state}", f"bold {style(report.state)}"),
        f"  {answered} of {len(report.outcomes)} answered{f' in {took}' if took else ''}{generation}",
        (f"  {printable(report.topic)}", "dim"),
    )


def _between(start: datetime | None, end: datetime | None) -> str:
    return seconds_text((end - start).total_seconds()) if start and end else ""


def print_requests(summaries: Iterable[Summary], stream: IO[str]) -> None:
    """Print a line per request."""
    out = console(stream)
    is_narrow = out.width < _NARROW
    table = _table("request", "state", *([] if is_narrow else ["runs"]), *_asked(out), "topic")
    for column in table.columns[:-1]:
        column.no_wrap = True
    for one in summaries:
        table.add_row(
            _text(one.request_id if out.width >= 100 else one.request_id[:8]),
            _state(one.state, out),
            *([] if is_narrow else [_text(f"{one.runs - one.open - one.missing} of {one.runs}")]),
            *map(_text, _asked(out, one)),
            _text(one.topic),
        )
    _print(table, out)


def _asked(out: Console, one: Summary | None = None) -> list[str]:
    """The cell that says when, or its heading; a narrow terminal has no room for it."""
    if out.width < _NARROW:
        return []
    at = one.created_at if one else None
    return [("" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}") if one else "asked"]


def print_declared(rows: Iterable[Mapping[str, object]], stream: IO[str]) -> None:
    """Print the collectors that an app declares."""
    out = console(stream)
    headings = ("collector", "topics", "timeout", "retries", "kind", "what it says")
    shown = (0, 1, 5) if out.width < _NARROW else range(len(headings))
    table = _table(*(headings[i] for i in shown))
    for row in rows:
        cells = ["" if value is None else str(value) for value in row.values()]
        table.add_row(*(_text(cells[i]) for i in shown))
    _print(table, out)


def print_workers(rows: Iterable[Mapping[str, Any]], stream: IO[str]) -> None:
    """Print the workers that are there."""
    out = console(stream)
    is_narrow = out.width < _NARROW
    table = _table("worker", "queues", *([] if is_narrow else ["pool", "processes", "package"]))
    for row in rows:
        more = [] if is_narrow else [row["pool"], str(row["processes"]), row["package"]]
        table.add_row(*map(_text, [row["name"], ", ".join(row["queues"]), *more]))
    _print(table, out)


def print_fields(fields: Mapping[str, object], stream: IO[str]) -> None:
    """Print names and values, those that there are."""
    out = console(stream)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value is not None:
            table.add_row(name.removesuffix("_s"), _text(str(value)))
    _print(table, out)


def print_settings(rows: Iterable[Mapping[str, object]], stream: IO[str]) -> None:
    """Print settings; on a narrow terminal each one's origin stands below its value."""
    out = console(stream)
    is_narrow = out.width < _NARROW
    table = _table("setting", "value", *([] if is_narrow else ["from"]))
    table.columns[0].no_wrap = True
    for row in rows:
        value, place = ("–" if row["value"] is None else str(row["value"])), str(row["from"])
        cells = [_text(value), Text(printable(place), style="dim")]
        table.add_row(_text(str(row["name"])), *([Text("\n").join(cells)] if is_narrow else cells))
    _print(table, out)


def print_planned(rows: Sequence[Mapping[str, str]], summary: str, stream: IO[str]) -> None:
    """Print what a question would become."""
    out = console(stream)
    headings = list(rows[0])[: 3 if out.width < _NARROW else None]
    table = _table(*headings)
    for row in rows:
        table.add_row(*(_text(row[heading]) for heading in headings))
    _print(table, out)
    out.print(_text(summary), soft_wrap=True)


def print_checks(rows: Iterable[Mapping[str, str | None]], stream: IO[str]) -> None:
    """Print what the doctor found."""
    out = console(stream)
    states = {"ok": "ok", "warn": "partial", "fail": "failed"}
    table = Table.grid(padding=(0, 2, 0, 0))
    is_narrow = out.width < _NARROW
    for _ in range(1 if is_narrow else 2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        state = states[row["state"] or "fail"]
        look = style(state)
        said = _text(row["message"] or "")
        if row["remedy"]:
            said.append(f"\n{printable(row['remedy'])}", style=look)
        name = _text(row["name"] or "")
        cells = [Text("\n").join([name, said])] if is_narrow else [name, said]
        table.add_row(Text(f"{icon(state, out.encoding)} {row['state']}", style=look), *cells)
    _print(table, out)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _print(table: Table, out: Console) -> None:
    """Where no terminal draws it, without the spaces that fill its last column."""
    if out.is_terminal:
        return out.print(table)
    with out.capture() as said:
        out.print(table)
    return out.print("\n".join(line.rstrip() for line in said.get().splitlines()), soft_wrap=True)


def _text(content: str, look: str = "") -> Text:
    return Text(printable(content), style=look)
