"""Flower's user and password: made once, kept where only their owner can read them.

Without a password Flower's own buttons answer 401; with ``FLOWER_UNAUTHENTICATED_API`` they would work for
every page that a browser on this machine has open. So there is always one.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

USER = "collectors"


@dataclass(frozen=True)
class Login:
    """What Flower asks for, as ``user:password``."""

    text: str
    path: Path | None
    """Where it is kept; nowhere, if it was given."""
    is_new: bool = False

    def __str__(self) -> str:
        """For people: the password itself only when it is new."""
        if self.path is None:
            return "user and password as FLOWER_BASIC_AUTH says"
        user, _, password = self.text.partition(":")
        if self.is_new:
            return f"user {user}, password {password} (shown this once, kept in {self.path})"
        return f"user {user}, password in {self.path}"


def path_in(env: Mapping[str, str]) -> Path:
    """Where it is kept: in the user's state folder, beside the embedded engines."""
    state = env.get("XDG_STATE_HOME", "")
    if not Path(state).is_absolute():  # the XDG specification: a relative path is to be ignored
        state = str(Path(env.get("HOME") or Path.home()) / ".local" / "state")
    return Path(state) / "celery-collectors" / "flower-login"


def kept(path: Path) -> Login:
    """Read it, or make it: again, too, if others could have read it.

    Raises:
        OSError: if the file can't be made.
    """
    if text := _read(path):
        return Login(text, path)
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _made(path)


def _read(path: Path) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return ""
    with os.fdopen(fd, encoding="utf-8") as file:
        about = os.fstat(fd)
        private = about.st_uid == os.geteuid() and not about.st_mode & 0o077
        return file.read().strip() if private else ""


def _made(path: Path) -> Login:
    """Written beside and then renamed, so that nobody ever reads half of it."""
    text = f"{USER}:{secrets.token_urlsafe(18)}"
    fd, beside = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # its mode is 0600
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    Path(beside).replace(path)
    return Login(text, path, is_new=True)
