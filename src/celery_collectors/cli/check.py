"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        state: How it is.
        message: What was found.
        remedy: What to do, unless it is fine.
        unreachable: Whether a server did not answer.
    """

    name: str
    state: Literal["ok", "warn", "fail"]
    message: str
    remedy: str | None = None
    unreachable: bool = False

    def to_dict(self) -> dict[str, str | None]:
        """The finding as JSON-able data."""
        return {"name": self.name, "state": self.state, "message": self.message, "remedy": self.remedy}
