"""What a benchmark found, in the form that all of them share: findings held against their aims, pictures, details."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table

Point = tuple[float, float]


class Finding(NamedTuple):
    """One figure, and what it should be.

    Attributes:
        title: What was measured.
        value: How much it is.
        unit: Of the value; ``×`` is a ratio to raw, above 1 better.
        aim: What it should be, if that was ever said.
        at_most: Whether less than the aim is right, rather than more.
    """

    title: str
    value: float
    unit: str = "×"
    aim: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached."""
        if self.aim is None:
            return None
        return self.value <= self.aim if self.at_most else self.value >= self.aim

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON-able data."""
        return {**self._asdict(), "met": self.met}


class Bars(NamedTuple):
    """A picture of contenders beside each other: by name, how much."""

    title: str
    unit: str
    values: Mapping[str, float]


class Lines(NamedTuple):
    """A picture of how costs grow, each beside what it is at the smallest: by name, its points."""

    title: str
    along: str
    values: Mapping[str, Sequence[Point]]


class Measured(NamedTuple):
    """What one benchmark found.

    Attributes:
        findings: The figures that count.
        details: Everything that was measured, JSON-able.
        pictures: What the plot shows.
        tables: More for people, above the findings.
        notes: What a reader of the figures must know.
        versions: Of what was measured, beside Python and this package's own dependencies.
    """

    findings: Sequence[Finding]
    details: Mapping[str, Any]
    pictures: Sequence[Bars | Lines] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    versions: Mapping[str, str] = {}


def findings_table(title: str, findings: Sequence[Finding]) -> Table:
    """The findings, and beside each its aim and whether it is reached."""
    table = Table(title=title, title_justify="left")
    for column, justify in (("", "left"), ("measured", "right"), ("aim", "right"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for one in findings:
        sign = "" if one.aim is None else f"{'≤' if one.at_most else '≥'} {number(one.aim)} {one.unit}"
        table.add_row(one.title, f"{number(one.value)} {one.unit}", sign, {None: "", True: "✓", False: "✗"}[one.met])
    return table


def number(value: float) -> str:
    """A number with the digits that mean something.

    >>> number(0.123), number(2), number(45.67), number(12345.6)
    ('0.12', '2.00', '45.7', '12,346')
    """
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
