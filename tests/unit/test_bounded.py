"""Code in a helper thread: what is left behind ends as soon as it can, and leaves nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from celery_collectors.errors import TimedOut
from celery_collectors.payloads.codec import Chunk
from celery_collectors.worker.bounded import Bounded


def test_an_endless_producer_that_was_left_behind_ends() -> None:
    """Also where it may not be killed, as a stage, which reads from the ledger."""
    closed = threading.Event()

    def produce() -> Iterator[Chunk]:
        try:
            while True:
                yield Chunk(b"1\n", 1)
        finally:
            closed.set()

    with pytest.raises(TimedOut):
        for _ in Bounded(produce, "endless", kill=False).chunks(0.1):
            pass
    assert closed.wait(5)
