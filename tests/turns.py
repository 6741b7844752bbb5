"""Whose turn it is where several processes share the tests: one marked ``alone`` runs while no other does."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """One process's turns.

    Args:
        door, room: Two files to lock; locked, not written, so nothing is left behind, whatever dies.
    """

    def __init__(self, door: Path, room: Path) -> None:
        self._door = door.open()
        self._room = room.open()
        self._stays = False

    @contextmanager
    def turn(self, *, alone: bool, stays: bool = False) -> Iterator[None]:
        """Be in the room together with others, or alone.

        Args:
            alone: Whether to wait until nobody else is there, and to let nobody in.
            stays: Whether this process's next turn is one alone, too: it keeps the room until then.
        """
        if not self._stays:
            self._enter(fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        try:
            yield
        finally:
            self._stays = alone and stays
            if not self._stays:
                fcntl.flock(self._room, fcntl.LOCK_UN)

    def _enter(self, how: int) -> None:
        # Whoever waits to be alone holds the door, so that no more come in; those who are in can end.
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._room, how)
        fcntl.flock(self._door, fcntl.LOCK_UN)
