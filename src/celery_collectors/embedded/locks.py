"""Locks that the kernel lets go of when their holder dies, however it dies."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

if os.name == "posix":
    import fcntl


class Lock:
    """One lock file, held open; what it holds goes with the last process that has it open.

    A copy of the descriptor given to a child is the same lock: it stays held until parent and child both
    have closed it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "users.lock"
    >>> one, two, all_alone = Lock(path), Lock(path), Lock(path)
    >>> one.try_shared(), two.try_shared(), all_alone.try_exclusive()
    (True, True, False)
    >>> one.close(); two.close(); all_alone.try_exclusive()
    True
    """

    def __init__(self, path: Path, fd: int | None = None) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if fd is None else fd

    def try_shared(self) -> bool:
        """Hold it together with others, unless somebody holds it alone."""
        return self._try(fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Hold it alone, unless anybody holds it."""
        return self._try(fcntl.LOCK_EX)

    def release(self) -> None:
        """Let go of it and keep the file open."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def held_by_others(self) -> bool:
        """Tell whether any other process holds it, shared or alone; call it only while not holding it."""
        if self.try_exclusive():
            self.release()
            return False
        return True

    def still_there(self) -> bool:
        """Tell whether the file is still at its path: others lock whatever is there now."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self.fd))
        except OSError:
            return False

    def close(self) -> None:
        """Close the file: not an unlock, because a child may go on holding it."""
        os.close(self.fd)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
