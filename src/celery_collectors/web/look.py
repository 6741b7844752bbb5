"""How pages look, and how they write states, times and sizes."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

HERE = Path(__file__).parent
POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
        "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'",
    )
)  # fmt: skip
SHOWN_CHARS = 4096
ICONS = {
    "queued": "◌", "running": "▶", "retrying": "↻", "ok": "✓", "empty": "∅", "failed": "✗", "timed_out": "⧖",
    "lost": "?", "cancelled": "⊘", "skipped": "»", "collecting": "▶", "gathering": "▶", "cleaning": "▶",
    "processing": "▶", "complete": "✓", "partial": "◐",
}  # fmt: skip


class Look:
    """The templates, and what is said with every page."""

    def __init__(self) -> None:
        self._templates = _templates()

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page, or a part of one, on which nothing inline runs and which fetches nothing from elsewhere."""
        text = self._templates.get_template(template).render(**values)
        whole = text.encode(errors="backslashreplace")  # half a character, which UTF-8 can't hold
        return HTMLResponse(whole, status, {"Content-Security-Policy": POLICY})


def _templates() -> Environment:
    """The templates. Whatever they are given is shown as text: topics, items and tracebacks come from others."""
    found = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)
    found.filters |= {
        "icon": icon,
        "words": words,
        "seconds": seconds,
        "clock": clock,
        "size": size,
        "excerpt": excerpt,
        "amount": amount,
    }
    return found


def icon(state: str) -> str:
    """A sign for a state, beside its word."""
    return ICONS.get(str(state), "·")


def words(state: str) -> str:
    """A state as it is read: ``timed out``."""
    return str(state).replace("_", " ")


def seconds(duration_s: float | None) -> str:
    """A duration.

    >>> seconds(0.0123), seconds(0.512), seconds(75.2), seconds(None)
    ('12 ms', '0.51 s', '1 min 15 s', '–')
    """
    if duration_s is None:
        return "–"
    if duration_s < 0.1:
        return f"{duration_s * 1000:.0f} ms" if duration_s >= 0.0005 else "< 1 ms"
    if duration_s < 60:
        return f"{duration_s:.2f} s" if duration_s < 10 else f"{duration_s:.1f} s"
    return f"{int(duration_s) // 60} min {int(duration_s) % 60} s"


def clock(moment: datetime | None) -> str:
    """A time in UTC, to the second."""
    return "–" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")


def size(size_bytes: int) -> str:
    """A number of bytes.

    >>> size(999), size(2048)
    ('999 B', '2.0 KiB')
    """
    amount = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def excerpt(value: Any) -> str:
    r"""A result, an item or arguments as JSON over several lines, as far as fits on a page.

    What an eye would take for something else, like characters that turn the direction of text, is escaped.

    >>> excerpt(["a\u202eb"])
    '[\n  "a\\u202eb"\n]'
    >>> excerpt([0] * 10_000 + [object()]).endswith(" … (cut off here)")
    True
    >>> excerpt(10**5000)
    '(which JSON has no room for)'
    """
    try:
        text = _beginning(value)
    except TypeError:  # a key that is no text, which only a copy of it all can do without
        text = _beginning(msgspec.to_builtins(value))
    except ValueError:  # a number of more digits than Python writes
        return "(which JSON has no room for)"
    shown = "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text[:SHOWN_CHARS])
    return shown if len(text) <= SHOWN_CHARS else f"{shown} … (cut off here)"


def _beginning(value: Any) -> str:
    """At least as much of a value's JSON as is shown, and hardly more where there are many values in it."""
    encoder = json.JSONEncoder(indent=2, ensure_ascii=False, default=msgspec.to_builtins)
    pieces, size = [], 0
    for piece in encoder.iterencode(value):
        pieces.append(piece)
        size += len(piece)
        if size > SHOWN_CHARS:
            break
    return "".join(pieces)


def amount(number: int, thing: str) -> str:
    """How many of something.

    >>> amount(1, "item"), amount(2, "item")
    ('1 item', '2 items')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
