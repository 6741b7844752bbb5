"""What the commands tell a script by their exit status."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from celery_collectors.errors import (
    CollectorsError,
    ConfigurationError,
    EngineError,
    RequestError,
    RequestUnknown,
    UnavailableError,
)

if TYPE_CHECKING:
    from celery_collectors.model import Report


class ExitCode(IntEnum):
    """Every status that a command ends with."""

    COMPLETE = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    DEADLINE = 4
    """The deadline came and nothing had answered."""
    UNREACHABLE = 5
    """Broker, ledger or engine."""
    NOT_FOUND = 6
    CANCELLED = 7
    INTERRUPTED = 130
    CLOSED_PIPE = 141
    """Nobody reads our output any more; what a shell says of a process that SIGPIPE ended."""


_BY_ERROR: tuple[tuple[type[CollectorsError], ExitCode], ...] = (
    (RequestError, ExitCode.USAGE),
    (ConfigurationError, ExitCode.USAGE),
    (UnavailableError, ExitCode.UNREACHABLE),
    (EngineError, ExitCode.UNREACHABLE),
    (RequestUnknown, ExitCode.NOT_FOUND),
)


def of_error(error: CollectorsError) -> ExitCode:
    """The status for one of this package's errors.

    >>> from celery_collectors.errors import TopicError
    >>> of_error(TopicError("the topic is empty")).name
    'USAGE'
    """
    return next((code for type_, code in _BY_ERROR if isinstance(error, type_)), ExitCode.FAILED)


def of_report(report: Report) -> ExitCode:
    """The status for a final report."""
    if report.state == "failed" and _deadline_took_all(report):
        return ExitCode.DEADLINE
    return {
        "complete": ExitCode.COMPLETE,
        "partial": ExitCode.PARTIAL,
        "cancelled": ExitCode.CANCELLED,
    }.get(str(report.state), ExitCode.FAILED)


def _deadline_took_all(report: Report) -> bool:
    """Every run was ended by the deadline, rather than by a time limit of its own before it."""
    if report.finished_at is None or report.deadline_at is None or report.finished_at < report.deadline_at:
        return False
    return all(outcome.state == "timed_out" for outcome in report.outcomes.values())
