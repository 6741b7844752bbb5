"""The keeper outlives whatever one renewal meets: a process whose keeper died would lose every later run."""

from __future__ import annotations

import threading
from typing import Any

from celery_collectors.ledger import Held
from celery_collectors.worker.keeper import Keeper


class Ledger:
    """One whose first answer is an error of the server's that nobody foresaw."""

    def __init__(self) -> None:
        self.calls = 0
        self.renewed = threading.Event()

    def renew(self, _owner: str, _held: Any) -> list[Any]:
        """Renew, from the second call on."""
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("BUSY a script is running")
        self.renewed.set()
        return []


def test_an_unforeseen_error_does_not_end_it() -> None:
    ledger: Any = Ledger()
    keeper = Keeper(ledger, "me", renew_s=0.01)
    keeper.hold(Held(request_id="r", ref="0", generation=1, attempt=1), lambda _: None)
    assert ledger.renewed.wait(5)
