"""The filters of the list, as they stand in the page's URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from celery_collectors.model import RequestState
from celery_collectors.web.bodies import TOPIC_MAX_CHARS

_CURSOR = re.compile(r"[0-9]{1,15}:[0-9a-f-]{36}")
SAID_CHARS = 80
STATES = tuple(str(state) for state in RequestState if state is not RequestState.UNKNOWN)


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What a person chose; what can't be understood counts as not chosen, and is said in ``misread``."""

    topic: str = ""
    state: str = ""
    since: str = ""
    until: str = ""
    cursor: str = ""
    misread: tuple[str, ...] = ()

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Filters:
        """From the URL."""
        given = {name: query.get(name, "").strip() for name in _READS}
        read = {name: text for name, text in given.items() if text and _READS[name](text)}
        return cls(**read, misread=tuple(f"{name}={given[name]}" for name in given if given[name] and name not in read))

    @property
    def notice(self) -> str:
        """What a person is told of what was not understood."""
        if not self.misread:
            return ""
        said = ", ".join(text[:SAID_CHARS] for text in self.misread)
        return f"not understood, and so left out: {said} (a time is written 2026-01-31 or 2026-01-31T13:00)"

    def wanted(self) -> dict[str, Any]:
        """As the facade takes it; a word without a star is looked for anywhere in the topic."""
        glob = self.topic if not self.topic or set("*?[") & set(self.topic) else f"*{self.topic}*"
        return {
            "topic": glob or None,
            "state": self.state or (),
            "since": _moment(self.since),
            "until": _moment(self.until),
        }

    def said(self) -> dict[str, str]:
        """As it stands in a URL, without the cursor."""
        return {name: getattr(self, name) for name in ("topic", "state", "since", "until") if getattr(self, name)}

    @property
    def states(self) -> tuple[str, ...]:
        """The states that there are to choose from."""
        return STATES


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


_READS: dict[str, Callable[[str], object]] = {
    "topic": lambda text: len(text) <= TOPIC_MAX_CHARS,
    "state": STATES.__contains__,
    "since": _moment,
    "until": _moment,
    "cursor": _CURSOR.fullmatch,
}
"""How each is read: a truth, if it is understood."""
