"""The grid of topic × time: what a page of the list has, in columns of equal time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from celery_collectors.ledger.finding import Summary

COLUMNS = 12


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of cells, the oldest first; each has its requests, the newest first."""

    begins: datetime
    ends: datetime
    rows: dict[str, list[list[Summary]]]


def spread(requests: Sequence[Summary]) -> Grid | None:
    """Spread requests over a grid; of none there is no grid."""
    times = [one.created_at for one in requests if one.created_at]
    if not times:
        return None
    begins, ends = min(times), max(times)
    rows: dict[str, list[list[Summary]]] = {}
    for one in requests:
        if one.created_at:
            row = rows.setdefault(one.topic, [[] for _ in range(COLUMNS)])
            row[_column(one.created_at - begins, ends - begins)].append(one)
    return Grid(begins=begins, ends=ends, rows=rows)


def _column(since: timedelta, whole: timedelta) -> int:
    return min(COLUMNS - 1, int(COLUMNS * (since / whole))) if whole else COLUMNS - 1
