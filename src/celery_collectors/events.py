"""What happened to a request, as frozen records, and the hook protocol that hears it.

The same records come from two places: the request's event stream in the ledger (``request.events()``),
which holds all of them in order, and a hook in the process where the thing happened.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from celery_collectors.model import ErrorInfo


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a request, a run or a stage.

    Attributes:
        request_id: The request it belongs to.
        subject: ``request``, ``run`` or ``stage``; ``link`` for what a chord calls after its end.
        name: The run's or stage's name; the topic for the request itself.
        state: The state that it is in now.
        at_ms: Ledger time in milliseconds since 1970.
        attempt: Which attempt of the run or stage, from 1; 0 where there was none yet.
        items: How many items an ended run or stage produced.
        delay_s: For ``retrying``: seconds until the next attempt.
        error: What went wrong, if anything did.
        generation: Which life of the request it belongs to.
        priority: Where the request was given another one, which.
        id: The event's id in the request's stream, from which ``events(after=id)`` goes on.
    """

    request_id: str
    subject: str
    name: str
    state: str
    at_ms: int
    attempt: int = 0
    items: int = 0
    delay_s: float | None = None
    error: ErrorInfo | None = None
    generation: int = 1
    priority: str = ""
    id: str = ""


class Hook(Protocol):
    """Anything that can be called with an :class:`Event`; ``Collectors(app, hooks=[print])`` is enough.

    It is called in the process where the event happened, after the ledger has recorded it. What it
    raises is logged and changes nothing.
    """

    def __call__(self, event: Event, /) -> None:
        """Hear of one event."""
        ...
