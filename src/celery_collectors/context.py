"""What the running code may know about its attempt: :func:`current`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

import msgspec

_CURRENT: ContextVar[Context | None] = ContextVar("celery_collectors_current", default=None)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a run or stage, as its own code sees it.

    Attributes:
        request_id, topic: The request it is part of.
        name: The run's or stage's name.
        attempt: From 1; with ``request_id``, ``name`` and ``generation`` a fencing token for outside writes.
        generation: Which life of the request.
        deadline_at: When collecting ends, UTC.
        ends_at: When this attempt is ended at the latest, UTC.
    """

    request_id: str
    topic: str
    name: str
    attempt: int = 1
    generation: int = 1
    deadline_at: datetime | None = None
    ends_at: datetime | None = None


def current() -> Context | None:
    """Return the attempt that this code runs in, or ``None`` outside of one.

    >>> current() is None
    True
    """
    return _CURRENT.get()


def enter(context: Context) -> None:
    """Set what :func:`current` returns, for this thread or coroutine."""
    _CURRENT.set(context)


@contextmanager
def entered(context: Context) -> Iterator[None]:
    """Set what :func:`current` returns for a while, in a thread that others use, too."""
    token = _CURRENT.set(context)
    try:
        yield
    finally:
        _CURRENT.reset(token)
