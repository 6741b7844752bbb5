"""What was found as a picture, in a file; matplotlib is asked for here alone, when there is something to draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Bars, Lines, number

WIDTH_IN, HEIGHT_IN = 6.4, 4.0
COLUMNS = 2


def draw(title: str, pictures: Sequence[Bars | Lines], path: Path) -> None:
    """Write the pictures, beside each other and below, as one PNG."""
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(WIDTH_IN * columns, HEIGHT_IN * rows), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for place, picture in zip(axes, pictures, strict=False):
        place.set_title(picture.title)
        _bars(place, picture) if isinstance(picture, Bars) else _lines(place, picture)
    for place in list(axes)[len(pictures) :]:
        place.set_axis_off()
    figure.savefig(path, dpi=100)


def _bars(place: Any, picture: Bars) -> None:
    bars = place.barh(list(picture.values), list(picture.values.values()))
    place.bar_label(bars, labels=[number(value) for value in picture.values.values()], padding=3)
    place.margins(x=0.15)
    place.invert_yaxis()  # the first one on top
    place.set_xlabel(picture.unit)


def _lines(place: Any, picture: Lines) -> None:
    for name, points in picture.values.items():
        place.plot(*zip(*points, strict=True), marker="o", label=name)
    place.set_xscale("log")
    place.set_yscale("log")
    place.set_xlabel(picture.along)
    place.set_ylabel(picture.unit)
    place.grid(visible=True, which="both", alpha=0.3)
    place.legend()
