"""Moments as people write them: so long ago, or a date and time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from celery_collectors.cli.duration import seconds


def moment(text: str, now: datetime | None = None) -> datetime:
    """Read a moment.

    Args:
        text: A duration, which is meant from now backwards; or a date, or a date and time, local unless it says.
        now: The present.

    Raises:
        ValueError: naming the accepted forms.

    >>> noon = datetime(2026, 11, 28, 12, tzinfo=UTC)
    >>> moment("90m", noon).isoformat(), moment("2026-11-28T08:00Z", noon).isoformat()
    ('2026-11-28T10:30:00+00:00', '2026-11-28T08:00:00+00:00')
    """
    try:
        return (now or datetime.now(UTC)) - timedelta(seconds=seconds(text))
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text!r} is no moment; write it like 30m or 24h (ago), 2026-11-28 or 2026-11-28T08:00"
        ) from error


def since(text: str) -> datetime:
    """An option's type: what was typed, as a moment; a bad one is a usage error."""
    try:
        return moment(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
