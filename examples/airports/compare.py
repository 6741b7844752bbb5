"""What several sources agree on, and how far those who don't lie off.

A source that is wrong by any amount must not move the answer. So nothing is averaged: the agreed value is one
that a source said and that more than half of the sources support. Where there is none, it is "undecided".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from examples.airports.distances import Position, edit_distance, great_circle_m


@dataclass(frozen=True, slots=True)
class Measure:
    """How two values of a field are compared: values at most `tolerance` apart support each other."""

    unit: str
    tolerance: float
    distance: Callable[[Any, Any], float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of comparing one field, with distances in its unit; `agreed` is None if undecided."""

    agreed: Any
    undecided: bool
    outliers: list[str]
    spread: float
    off_by: dict[str, float]


def _apart(one: float, other: float) -> float:
    return abs(one - other)


# A reference point may lie anywhere on an airfield, an elevation be any threshold's; a code is right or not.
_CODE = Measure("letters", 0, edit_distance)
MEASURES = {
    "name": Measure("letters", 3, edit_distance),
    "city": Measure("letters", 2, edit_distance),
    "country": _CODE,
    "icao": _CODE,
    "timezone": _CODE,
    "airport_type": _CODE,
    "position": Measure("m", 2_000, great_circle_m),
    "elevation_ft": Measure("ft", 50, _apart),
    "longest_runway_ft": Measure("ft", 100, _apart),
}


def judge(by_source: Mapping[str, Any], measure: Measure) -> Verdict:
    """Return what the sources agree on: the value that most of the others lie within the tolerance of.

    It must have the support of more than half of the sources, itself included; a source that speaks alone is
    believed. Among equals the one closest to its supporters wins, then the lowest, never the first to answer.

    Args:
        by_source: what each source said, at least one.
        measure: how to compare.

    >>> judge({"a": 13, "b": 13, "c": 221168}, MEASURES["elevation_ft"]).outliers
    ['c']
    """
    values = list(by_source.values())
    best = min(values, key=lambda value: _standing(value, values, measure))
    off_by = {source: measure.distance(best, value) for source, value in by_source.items()}
    outliers = [source for source, off in off_by.items() if off > measure.tolerance]
    spread = max(measure.distance(one, other) for one in values for other in values)
    if 2 * len(outliers) >= len(values):
        return Verdict(None, True, [], spread, {})  # nobody can say who is wrong
    return Verdict(best, False, outliers, spread, off_by)


def _standing(value: Any, values: list[Any], measure: Measure) -> tuple[int, float, Any]:
    distances = [measure.distance(value, other) for other in values]
    supporting = [distance for distance in distances if distance <= measure.tolerance]
    return -len(supporting), sum(supporting), value


def disagreement(by_source: Mapping[str, Any], verdict: Verdict, unit: str) -> dict[str, Any] | None:
    """Return a verdict as JSON, with whole units in the names of its fields; None if all say the same.

    Differences of less than half a unit are none: nobody surveys an airport to the centimetre.

    Args:
        by_source: what each source said.
        verdict: what came of judging that.
        unit: the unit of the verdict's distances.
    """
    if round(verdict.spread) == 0:
        return None
    return {
        "agreed": plain(verdict.agreed),
        "undecided": verdict.undecided,
        "by_source": {source: plain(value) for source, value in by_source.items()},
        f"spread_{unit}": round(verdict.spread),
        f"off_by_{unit}": {source: round(off) for source, off in verdict.off_by.items() if round(off)},
        "outliers": verdict.outliers,
    }


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: a position as a dict of degrees.

    Args:
        value: a position, a text, a number or None.
    """
    return value._asdict() if isinstance(value, Position) else value
