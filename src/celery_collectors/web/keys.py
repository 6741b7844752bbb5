"""Bearer keys, of which only the hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from celery_collectors.errors import SettingsError

_LINE = re.compile(r"(?P<name>[\w.@-]{1,64})\s+sha256:(?P<hash>[0-9a-f]{64})")


def make_key(name: str) -> tuple[str, str]:
    """Make a key for someone; returns the key, which is shown once, and the line for the file of keys.

    A key is 256 random bits, so a plain hash of it is as good as a slow one.

    >>> key, line = make_key("grafana")
    >>> Keys.read(line).whose(key)
    'grafana'
    """
    key = secrets.token_urlsafe(32)
    line = f"{name} sha256:{_hash(key)}"
    if not _LINE.fullmatch(line):
        raise SettingsError(f"a key's name has letters, digits and . @ - _, at most 64 of them, and not {name!r}")
    return key, line


class Keys:
    """Who may come in.

    Args:
        names: By a key's hash, whose it is.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)

    def __len__(self) -> int:
        return len(self._names)

    @classmethod
    def load(cls, path: Path) -> Keys:
        """Read a file of keys.

        Raises:
            SettingsError: when it can't be read, or has none.
        """
        try:
            found = cls.read(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"the file of keys can't be read: {error}") from error
        if not found:
            raise SettingsError(f"{path.name} has no key; make one, and add its line")
        return found

    @classmethod
    def read(cls, text: str) -> Keys:
        """Read the lines of such a file: a name and a hash each; empty ones and comments (``#``) say nothing.

        Raises:
            SettingsError: for any other line.
        """
        names = {}
        for number, line in enumerate(map(str.strip, text.splitlines()), 1):
            if not line or line.startswith("#"):
                continue
            if not (found := _LINE.fullmatch(line)):
                raise SettingsError(f"line {number} of the keys is not 'NAME sha256:HASH'")
            names[found["hash"]] = found["name"]
        return cls(names)

    def whose(self, key: str) -> str | None:
        """The name that belongs to a key, or ``None``; the empty one is nobody's, whatever the file says."""
        hashed = _hash(key)
        names = (name for known, name in self._names.items() if key and hmac.compare_digest(known, hashed))
        return next(names, None)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
