"""Medians, percentiles and ratios: what is made of the measured numbers. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

Rounds = Sequence[Mapping[str, float]]
"""One contender's figures by name, round by round."""


class Measure(NamedTuple):
    """Something that is measured."""

    name: str
    title: str
    more_is_better: bool


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed (the nearest rank).

    >>> percentile([5, 1, 4, 2, 3], 0.5), percentile(range(1, 101), 0.95)
    (3, 95)
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def medians(rounds: Rounds) -> dict[str, float]:
    """Each figure's median over the rounds."""
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


def ratio(measure: Measure, ours: float, base: float) -> float:
    """How many times as good as the base: above 1 is better, whatever is measured.

    >>> ratio(Measure("requests_s", "requests/s", True), 50, 100)
    0.5
    >>> ratio(Measure("p50_ms", "p50", False), 50, 100)
    2.0
    """
    return ours / base if measure.more_is_better else base / ours


def compare(
    measured: Mapping[str, Rounds], base: str, aims: Mapping[str, float], measures: Sequence[Measure]
) -> dict[str, Any]:
    """Each contender's medians, and of all but the base how they compare with it and whether that is the aim.

    Args:
        measured: By contender, its rounds.
        base: The contender that the others are compared with.
        aims: By contender, the ratio that it should have at least.
        measures: What is compared.
    """
    found: dict[str, Any] = {}
    middle = {name: medians(rounds) for name, rounds in measured.items()}
    for name, mine in middle.items():
        found[name] = {"medians": mine}
        if name != base:
            ratios = {one.name: ratio(one, mine[one.name], middle[base][one.name]) for one in measures}
            met = {one: value >= aims[name] for one, value in ratios.items()}
            found[name] |= {"ratios": ratios, "aim": aims[name], "met": met}
    return found
