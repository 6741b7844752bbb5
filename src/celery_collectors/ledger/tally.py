"""How each collector has done of late, counted from the outcomes of some requests. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from celery_collectors.model import RUN_ANSWERED, RUN_MISSING, ErrorInfo, Outcome, RunState


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How one collector did over some requests.

    Attributes:
        runs: How many of its runs have ended and count: one that was skipped or cancelled says nothing of its source.
        answered: How many of these were ``ok`` or ``empty``.
        run_p50_s, run_p95_s: Seconds of an attempt; half of them, and 19 of 20, took no longer.
        last_error: What went wrong last, and in which request.
        last_error_in: That request's id.
    """

    runs: int = 0
    answered: int = 0
    run_p50_s: float | None = None
    run_p95_s: float | None = None
    last_error: ErrorInfo | None = None
    last_error_in: str | None = None

    @property
    def reliability(self) -> float | None:
        """The share of the runs that answered, from 0 to 1."""
        return self.answered / self.runs if self.runs else None

    def to_dict(self) -> dict[str, Any]:
        """The tally as JSON-able data."""
        return {
            "runs": self.runs,
            "answered": self.answered,
            "reliability": self.reliability,
            "run_p50_s": self.run_p50_s,
            "run_p95_s": self.run_p95_s,
            "last_error": self.last_error.to_dict() if self.last_error else None,
            "last_error_in": self.last_error_in,
        }


def tally(name: str, requests: Mapping[str, Mapping[str, Outcome]]) -> Tally:
    """Count one collector's runs.

    Args:
        name: The collector's.
        requests: By request id, the newest first, the outcomes of the runs.
    """
    outcomes = [(request_id, runs[name]) for request_id, runs in requests.items() if name in runs]
    counted = [one for _, one in outcomes if one.state in RUN_ANSWERED | RUN_MISSING - {RunState.CANCELLED}]
    times_s = sorted(one.run_s for one in counted if one.run_s is not None)
    failed = next(((where, one.error) for where, one in outcomes if one.error and one.state in RUN_MISSING), None)
    return Tally(
        runs=len(counted),
        answered=sum(one.state in RUN_ANSWERED for one in counted),
        run_p50_s=percentile(times_s, 50),
        run_p95_s=percentile(times_s, 95),
        last_error=failed[1] if failed else None,
        last_error_in=failed[0] if failed else None,
    )


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The smallest of them that so many percent do not exceed.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50), percentile([], 50)
    (2.0, None)
    """
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else None
