"""Durations as people write them."""

from __future__ import annotations

import re

import click

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PLAIN = re.compile(_NUMBER)
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_WITH_UNITS = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _UNITS_S))


def seconds(text: str) -> float:
    """Read a duration.

    Args:
        text: Seconds, or numbers with ``h``, ``m``, ``s``, ``ms``, the largest first.

    Raises:
        ValueError: naming the accepted forms.

    >>> seconds("1h30m"), seconds("500ms"), seconds("45")
    (5400.0, 0.5, 45.0)
    """
    if _PLAIN.fullmatch(text):
        return float(text)
    match = _WITH_UNITS.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"{text!r} is not a duration; write it like 30, 30s, 2m, 1h30m or 500ms")
    found = match.groupdict()
    return sum(float(found[unit]) * size_s for unit, size_s in _UNITS_S.items() if found[unit])


def duration(text: str) -> float:
    """An option's type: what was typed, as seconds; a bad one is a usage error."""
    try:
        return seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
