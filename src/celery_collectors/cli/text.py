"""Text that is safe to show: what came from a source or a topic must not act on the terminal."""

from __future__ import annotations

import json
import math
import re
from typing import Any

# What JSON lets through unescaped although a terminal, or an eye, would take it for something else: C1
# controls, invisible and direction-changing characters; and lone surrogates, which UTF-8 can't hold.
_UNSAFE_IN_JSON = re.compile(
    "[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""One line in which nothing is left that isn't printed as itself.

    >>> printable("two\nlines, \x1b[31mred")
    'two lines, \\x1b[31mred'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))


def as_json(value: Any, *, indent: int | None = 2) -> str:
    r"""JSON in which suspicious characters are escaped; it reads back as the same value. Without an indent, a line.

    A number that JSON has no word for becomes ``null``: the reader is a strict one, perhaps.

    >>> as_json("\x9b31m"), as_json([float("nan")], indent=None)
    ('"\\u009b31m"', '[null]')
    """
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, default=_as_text, allow_nan=False)
    except ValueError:
        finite = _finite(value)
        text = json.dumps(finite, ensure_ascii=False, indent=indent, default=_as_text, allow_nan=False)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _as_text(value: Any) -> Any:
    """What JSON does not know of what items may be: times, decimals, UUIDs; bytes as Base64."""
    import msgspec

    return msgspec.to_builtins(value)


def clock_text(duration_s: float) -> str:
    """A duration that is seen running.

    >>> clock_text(0.512), clock_text(30), clock_text(75.2)
    ('0.5 s', '30.0 s', '1m15s')
    """
    return f"{duration_s:.1f} s" if duration_s < 60 else seconds_text(duration_s)


def seconds_text(duration_s: float | None) -> str:
    """A duration for a table.

    >>> seconds_text(0.512), seconds_text(75.2), seconds_text(None)
    ('0.51 s', '1m15s', '–')
    """
    if duration_s is None:
        return "–"
    if duration_s < 60:
        return f"{duration_s:.2f} s" if duration_s < 10 else f"{duration_s:.1f} s"
    minutes, rest_s = divmod(int(duration_s), 60)
    return f"{minutes // 60}h{minutes % 60:02}m" if minutes >= 60 else f"{minutes}m{rest_s:02}s"
