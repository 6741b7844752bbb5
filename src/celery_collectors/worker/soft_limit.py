"""Celery's soft time limit, kept away from our own code: its signal may strike in the middle of a Redis reply."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from billiard.pool import SIG_SOFT_TIMEOUT, soft_timeout_sighandler


class SoftLimit:
    """What the signal does in this process; made in the thread that would be struck, a pool child's main one.

    The handler is put in once, and told what it may do: to change it around every task takes more time than to ask
    the ledger takes. It is never SIG_IGN, which whatever program a collector starts would inherit.
    """

    def __init__(self) -> None:
        self._is_off = False
        is_here = SIG_SOFT_TIMEOUT is not None and threading.current_thread() is threading.main_thread()
        if is_here and signal.getsignal(SIG_SOFT_TIMEOUT) is soft_timeout_sighandler:
            signal.signal(SIG_SOFT_TIMEOUT, self._strike)

    def _strike(self, number: int, frame: Any) -> None:
        if not self._is_off:
            soft_timeout_sighandler(number, frame)

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """Let it pass by; a task's 0 means the app's own to Celery's pool, not none."""
        before, self._is_off = self._is_off, True
        try:
            yield
        finally:
            self._is_off = before

    @contextmanager
    def let_in(self) -> Iterator[None]:
        """Let it strike all the same, around a task's own code."""
        before, self._is_off = self._is_off, False
        try:
            yield
        finally:
            self._is_off = before
