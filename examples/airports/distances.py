"""How far two values lie apart: letters between texts, metres between places."""

from math import atan2, cos, hypot, radians, sin
from typing import NamedTuple

EARTH_RADIUS_M = 6_371_008.8  # the mean radius of the IUGG


class Position(NamedTuple):
    """A place on the Earth, in decimal degrees; north and east are positive."""

    latitude_deg: float
    longitude_deg: float


def edit_distance(one: str, other: str) -> int:
    """Return the least number of letters to insert, delete or replace to turn one text into the other.

    The Levenshtein distance (1966), by the algorithm of Wagner and Fischer (1974), one row at a time.

    Args:
        one: a text.
        other: a text.

    >>> edit_distance("Zurich Airport", "Zürich Airport")
    1
    """
    row = list(range(len(other) + 1))
    for deleted, letter in enumerate(one, start=1):
        diagonal, row[0] = row[0], deleted
        for i, wanted in enumerate(other, start=1):
            replaced = diagonal + (letter != wanted)
            diagonal, row[i] = row[i], min(row[i] + 1, row[i - 1] + 1, replaced)
    return row[-1]


def great_circle_m(one: Position, other: Position) -> float:
    """Return the distance along the Earth's surface, in metres, taking it for a sphere (0.6 % off at most).

    Vincenty's formula (1975) for the case of a sphere: unlike the haversine formula, it loses no
    digits, neither between neighbours nor between antipodes.

    Args:
        one: a place.
        other: a place.

    >>> round(great_circle_m(Position(0, 0), Position(1, 0)))
    111195
    """
    a, b = radians(one.latitude_deg), radians(other.latitude_deg)
    turn = radians(other.longitude_deg - one.longitude_deg)
    sine = hypot(cos(b) * sin(turn), cos(a) * sin(b) - sin(a) * cos(b) * cos(turn))
    cosine = sin(a) * sin(b) + cos(a) * cos(b) * cos(turn)
    return EARTH_RADIUS_M * atan2(sine, cosine)
