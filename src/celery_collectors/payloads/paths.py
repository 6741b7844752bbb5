"""The name of a value in a place that has paths."""

from __future__ import annotations

import re

_OTHER = re.compile(r"[^A-Za-z0-9_-]")


def path_of(key: str) -> str:
    """A key as a path of plain letters, one part for each of its own; none of them leads upwards.

    >>> path_of("news:{3}:payload:3f8a:link:0:1.12"), path_of("..:/etc")
    ('news/_3_/payload/3f8a/link/0/1_12', '__/_etc')
    """
    return "/".join(_OTHER.sub("_", part) or "_" for part in key.split(":"))
