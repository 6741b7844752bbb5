"""An event loop that is left to who blocks it: whoever ends in that moment is not struck, and nobody in its place."""

from __future__ import annotations

import threading
import time

from celery_collectors.worker.loop import Loop
from tests.unit.test_bounded import until


class Blocking:
    """A guest that blocks its loop, and ends while it is being timed out, as slow as the ledger may be."""

    def __init__(self) -> None:
        self.ends_at = time.monotonic()
        self.goes_on = threading.Event()
        self.thread: threading.Thread | None = None
        self.bystanders: list[threading.Thread] = []
        self.is_over = threading.Event()
        self.finished: list[int | None] = []

    async def run(self) -> None:
        self.thread = threading.current_thread()
        self.goes_on.wait()

    def hand_back(self) -> None:
        raise AssertionError("it is the one that blocks")

    def time_out(self) -> None:
        assert self.thread is not None
        self.goes_on.set()
        self.thread.join()
        for _ in range(20):
            self.bystanders.append(threading.Thread(target=self._stand_by, daemon=True))
            self.bystanders[-1].start()

    def _stand_by(self) -> None:
        while not self.is_over.is_set():
            time.sleep(0.01)
        self.finished.append(threading.get_ident())


def test_a_thread_that_came_in_the_place_of_the_blocked_one_is_not_struck() -> None:
    guest = Blocking()
    loop = Loop(1, lambda _turning: None)
    with loop.slots(1) as (_, start):
        start(guest)
    until(lambda: len(guest.bystanders) == 20)
    until(lambda: not any(one.name == "collectors-loop-watch" for one in threading.enumerate()))
    time.sleep(0.1)  # for a strike to be felt
    guest.is_over.set()
    for one in guest.bystanders:
        one.join(5)
    assert guest.thread is not None
    assert guest.thread.ident in [one.ident for one in guest.bystanders]  # else this shows nothing
    assert len(guest.finished) == 20
