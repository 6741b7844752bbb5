"""A test that must be alone is, and waits for no more than those that had begun."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.integration.conftest import until
from tests.turns import Turns


class Taker:
    """A test process, as a thread: each opens the files for itself, so that the locks are its own."""

    def __init__(self, folder: Path, *, alone: bool) -> None:
        self.inside, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(folder, alone), daemon=True)
        self._thread.start()

    def _run(self, folder: Path, alone: bool) -> None:
        with Turns(folder / "door", folder / "room").turn(alone=alone):
            self.inside.set()
            self._leave.wait(30)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(10)


def test_one_that_is_alone_waits_for_those_within_and_later_ones_wait_for_it(tmp_path: Path) -> None:
    for name in ("door", "room"):
        (tmp_path / name).touch()
    first, second = Taker(tmp_path, alone=False), Taker(tmp_path, alone=False)
    until(lambda: first.inside.is_set() and second.inside.is_set(), "two run together")
    alone = Taker(tmp_path, alone=True)
    first.leave()
    assert not alone.inside.wait(0.2)
    later = Taker(tmp_path, alone=False)
    assert not later.inside.wait(0.2)
    second.leave()
    assert alone.inside.wait(10)
    assert not later.inside.wait(0.2)
    alone.leave()
    assert later.inside.wait(10)
    later.leave()


def test_between_two_that_are_alone_nobody_comes_in(tmp_path: Path) -> None:
    for name in ("door", "room"):
        (tmp_path / name).touch()
    turns = Turns(tmp_path / "door", tmp_path / "room")
    with turns.turn(alone=True, stays=True):
        other = Taker(tmp_path, alone=False)
    assert not other.inside.wait(0.2)
    with turns.turn(alone=True):
        assert not other.inside.wait(0.2)
    assert other.inside.wait(10)
    other.leave()
