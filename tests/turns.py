"""Whose turn it is where several processes share the tests: one marked ``alone`` runs while no other does."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(door: Path, room: Path, *, alone: bool) -> Iterator[None]:
    """Be in the room together with others, or alone.

    Args:
        door, room: Two files to lock; locked, not written, so nothing is left behind, whatever dies.
        alone: Whether to wait until nobody else is there, and to let nobody in.
    """
    with door.open() as entering, room.open() as being:
        # Whoever waits to be alone holds the door, so that no more come in; those who are in can end.
        fcntl.flock(entering, fcntl.LOCK_EX)
        fcntl.flock(being, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(entering, fcntl.LOCK_UN)
        yield
