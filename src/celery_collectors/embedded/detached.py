"""Requests that must be finished though nobody waits for them any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

CHECK_S = 1.0
DOUBT_S = 60.0

log = logging.getLogger(__name__)


class Detached:
    """The folder of such requests: one empty file each, removed once the request is final."""

    def __init__(self, folder: Path, is_final: Callable[[str], bool]) -> None:
        self._folder = folder
        self._is_final = is_final
        self._check_due_s = 0.0
        self._doubted_since_s: float | None = None

    @property
    def empty(self) -> bool:
        """Nothing is left to wait for."""
        return not any(self._folder.iterdir())

    def forget_final(self) -> None:
        """Ask about each of them, at most once a second, and drop those that are done."""
        if time.monotonic() < self._check_due_s:
            return
        for path in self._folder.iterdir():
            if self._is_done(path.name):
                path.unlink(missing_ok=True)
        self._check_due_s = time.monotonic() + CHECK_S

    def _is_done(self, request_id: str) -> bool:
        """A ledger that can't be asked is no answer, but after a minute of that we let go."""
        try:
            final = self._is_final(request_id)
        except Exception:
            self._doubted_since_s = self._doubted_since_s or time.monotonic()
            gives_up = time.monotonic() - self._doubted_since_s > DOUBT_S
            log.exception("can't tell whether request %s is final%s", request_id, ": let go" if gives_up else "")
            return gives_up
        self._doubted_since_s = None
        return final
