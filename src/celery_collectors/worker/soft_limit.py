"""Celery's soft time limit, kept away from our own code: its signal may strike in the middle of a Redis reply."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from billiard.pool import SIG_SOFT_TIMEOUT, soft_timeout_sighandler


@contextmanager
def held_off() -> Iterator[None]:
    """Let a soft time limit pass by; a task's 0 means the app's own to Celery's pool, not none."""
    if SIG_SOFT_TIMEOUT is None or signal.getsignal(SIG_SOFT_TIMEOUT) is not soft_timeout_sighandler:
        yield  # not a pool child's main thread, which alone gets it
        return
    with _handled_by(_pass_by):
        yield


@contextmanager
def let_in() -> Iterator[None]:
    """Let it strike all the same, around a task's own code."""
    if SIG_SOFT_TIMEOUT is None or signal.getsignal(SIG_SOFT_TIMEOUT) is not _pass_by:
        yield
        return
    with _handled_by(soft_timeout_sighandler):
        yield


@contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
    before = signal.signal(SIG_SOFT_TIMEOUT, handler)
    try:
        yield
    finally:
        signal.signal(SIG_SOFT_TIMEOUT, before)


def _pass_by(_number: int, _frame: Any) -> None:
    """Not SIG_IGN, which whatever program a collector starts would inherit."""
