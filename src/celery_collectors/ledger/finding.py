"""Lists of requests: what a line says, and which requests are wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from fnmatch import translate
from functools import cached_property
from typing import Any

import msgspec

from celery_collectors.model import RequestState, at, rfc3339


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of requests."""

    request_id: str
    topic: str
    state: RequestState
    created_at: datetime | None
    finished_at: datetime | None
    runs: int
    open: int
    missing: int

    def to_dict(self) -> dict[str, Any]:
        """The line as JSON-able data."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found | {"created_at": rfc3339(self.created_at), "finished_at": rfc3339(self.finished_at)}


class Page(msgspec.Struct, frozen=True):
    """Some summaries, newest first, and the cursor with which the list goes on (``None`` at its end)."""

    requests: list[Summary]
    cursor: str | None


class Wanted(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a listed request must be like; false if anything goes.

    Attributes:
        topic: A glob for its topic.
        states: The states it may be in; any, if there are none.
        since, until: The times between which it was opened.
    """

    topic: str | None = None
    states: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def __bool__(self) -> bool:
        return any((self.topic, self.states, self.since, self.until))

    def takes(self, one: Summary) -> bool:
        """Whether a request is wanted."""
        return (
            (self.topic is None or self._like.match(one.topic) is not None)
            and (not self.states or one.state in self.states)
            and (self.since is None or one.created_at is None or one.created_at >= self.since)
            and (self.until is None or one.created_at is None or one.created_at <= self.until)
        )

    @cached_property
    def _like(self) -> re.Pattern[str]:
        """What fnmatch makes of the glob, but not kept: it keeps 32,768, and whoever asks over HTTP has new ones."""
        return re.compile(translate(self.topic or ""))


def summarised(request_id: str, head: Mapping[str, Any] | None) -> Summary | None:
    """The line of a request with this head; of one that is gone, none."""
    if head is None:
        return None
    return Summary(
        request_id=request_id,
        topic=head["topic"],
        state=RequestState(head["state"]),
        created_at=at(head["created_at"]),
        finished_at=at(head["finished_at"]) if "finished_at" in head else None,
        runs=head["runs"],
        open=head["open"],
        missing=head["missing"],
    )
