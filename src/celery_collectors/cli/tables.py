"""Tables: a report's, a list of requests, the declared collectors, the doctor's findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import IO, TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from celery_collectors.cli.look import console, icon, style, words
from celery_collectors.cli.progress import counted
from celery_collectors.cli.text import printable, seconds_text

if TYPE_CHECKING:
    from rich.console import Console

    from celery_collectors.ledger.reading import Summary
    from celery_collectors.model import ErrorInfo, Outcome, Report

_WIDE = 76  # from here on errors have a column; below they stand under the table


def print_report(report: Report, stream: IO[str]) -> None:
    """Print what happened to every source."""
    out = console(stream)
    rows = {**report.outcomes, **{f"({name})": stage for name, stage in report.stages.items()}}
    wide = out.width >= _WIDE
    out.print(_outcomes(rows, out, with_errors=wide))
    if not wide:
        _print_errors(rows, out)
    if report.error:
        out.print(_text(_error(report.error), style(report.state)), soft_wrap=True)
    out.print(_summary(report, out), soft_wrap=True)


def _outcomes(rows: Mapping[str, Outcome], out: Console, *, with_errors: bool) -> Table:
    table = _table("collector", "state")
    for heading in ("attempts", "items", "wait", "run"):
        table.add_column(heading, justify="right", no_wrap=True)
    with_errors = with_errors and any(outcome.error for outcome in rows.values())
    if with_errors:
        table.add_column("error", ratio=1, overflow="fold")
    for name, outcome in rows.items():
        table.add_row(*_outcome(name, outcome, out), *([_of_error(outcome)] if with_errors else []))
    return table


def _outcome(name: str, outcome: Outcome, out: Console) -> tuple[Text, ...]:
    look = style(outcome.state)
    return (
        _text(name),
        _text(f"{icon(outcome.state, out.encoding)} {words(outcome.state)}", look),
        _text(str(outcome.attempts)),
        _text(str(outcome.items)),
        _text(seconds_text(outcome.wait_s)),
        _text(seconds_text(outcome.run_s)),
    )


def _print_errors(rows: Mapping[str, Outcome], out: Console) -> None:
    for name, outcome in rows.items():
        if outcome.error:
            out.print(_text(f"{name}: {_error(outcome.error)}", style(outcome.state)))


def _of_error(outcome: Outcome) -> Text:
    return _text(_error(outcome.error) if outcome.error else "", style(outcome.state))


def _error(error: ErrorInfo) -> str:
    return f"{error.type}: {error.message}"


def _summary(report: Report, out: Console) -> Text:
    answered = sum(outcome.state in ("ok", "empty") for outcome in report.outcomes.values())
    line = _text(f"{icon(report.state, out.encoding)} {report.state}", f"bold {style(report.state)}")
    took = _between(report.created_at, report.finished_at)
    line.append(f"  {answered} of {len(report.outcomes)} answered{f' in {took}' if took else ''}")
    line.append(f"  {printable(report.topic)}  {report.request_id}", style="dim")
    return line


def _between(start: datetime | None, end: datetime | None) -> str:
    return seconds_text((end - start).total_seconds()) if start and end else ""


def print_requests(summaries: Iterable[Summary], stream: IO[str]) -> None:
    """Print a line per request."""
    out = console(stream)
    table = _table("request", "state", "runs", "asked", "topic")
    for one in summaries:
        table.add_row(
            _text(one.request_id if out.width >= 100 else one.request_id[:8]),
            _text(f"{icon(one.state, out.encoding)} {one.state}", style(one.state)),
            _text(f"{one.runs - one.open - one.missing} of {one.runs}"),
            _text(f"{one.created_at.astimezone():%Y-%m-%d %H:%M:%S}" if one.created_at else ""),
            _text(one.topic),
        )
    out.print(table)


def print_declared(rows: Iterable[Mapping[str, object]], stream: IO[str]) -> None:
    """Print the collectors that an app declares."""
    out = console(stream)
    table = _table("collector", "topics", "timeout", "retries", "kind", "what it says")
    for row in rows:
        table.add_row(*(_text("" if value is None else str(value)) for value in row.values()))
    out.print(table)


def print_checks(rows: Iterable[Mapping[str, str | None]], stream: IO[str]) -> None:
    """Print what the doctor found."""
    out = console(stream)
    states = {"ok": "ok", "warn": "partial", "fail": "failed"}
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        state = states[row["state"] or "fail"]
        look = style(state)
        said = _text(row["message"] or "")
        if row["remedy"]:
            said.append(f"\n→ {printable(row['remedy'])}", style=look)
        table.add_row(
            _text(f"{icon(state, out.encoding)} {row['state']}", look), _text(row["name"] or ""), said
        )
    out.print(table)


def in_words(states: Iterable[str]) -> str:
    """How often each state occurs, in words.

    >>> in_words(["ok", "timed_out", "ok"])
    '2 ok, 1 timed out'
    """
    return ", ".join(f"{number} {words(state)}" for state, number in counted(states).items())


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _text(content: str, look: str = "") -> Text:
    return Text(printable(content), style=look)
