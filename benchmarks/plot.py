"""What was found as a picture, in a file; matplotlib is asked for here alone, when there is something to draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Bars, Lines, number

WIDTH_IN, HEIGHT_IN = 6.4, 4.0
COLUMNS = 2
FLAT_TOP = 2.0  # so that what is flat looks flat


def draw(title: str, pictures: Sequence[Bars | Lines], path: Path) -> None:
    """Write the pictures, beside each other and below, as one PNG."""
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(WIDTH_IN * columns, HEIGHT_IN * rows), layout="constrained")
    figure.suptitle(title)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for place, picture in zip(axes, pictures, strict=False):
        place.set_title(picture.title)
        _bars(place, picture) if isinstance(picture, Bars) else _lines(place, picture)
    for place in axes[len(pictures) :]:
        place.set_axis_off()
    figure.savefig(path, dpi=100)


def _bars(place: Any, picture: Bars) -> None:
    bars = place.barh(list(picture.values), list(picture.values.values()))
    place.bar_label(bars, labels=[number(value) for value in picture.values.values()], padding=3)
    place.margins(x=0.15)
    place.invert_yaxis()  # the first one on top
    place.set_xlabel(picture.unit)


def _lines(place: Any, picture: Lines) -> None:
    sizes = sorted({size for points in picture.values.values() for size, _value in points})
    for name, points in picture.values.items():
        (first, base), *_rest = points
        label = f"{name}: {number(base)} at {first:,}"
        place.plot(
            [size for size, _value in points], [value / base for _size, value in points], marker="o", label=label
        )
    place.set_xscale("log")
    place.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
    place.set_xticks([], minor=True)
    place.set_ylim(0, max(FLAT_TOP, place.get_ylim()[1]))
    place.set_xlabel(picture.along)
    place.set_ylabel("times the smallest's")
    place.grid(visible=True, alpha=0.3)
    place.legend(loc="lower right")
