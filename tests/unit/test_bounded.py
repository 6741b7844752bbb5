"""Code in a helper thread: what is left behind ends as soon as it can, and leaves nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import pytest

from celery_collectors.errors import TimedOut
from celery_collectors.payloads.codec import Chunk
from celery_collectors.worker.bounded import CHUNKS_AHEAD, Bounded
from celery_collectors.worker.threads import TELLS, Threads

kept = pytest.mark.skipif(not TELLS, reason="there each call has a thread of its own")


def until(condition: Callable[[], object], within_s: float = 5.0) -> None:
    ends_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.001)


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
        for _ in Bounded(produce, "endless", kill=False).chunks(0.1, Threads()):
            pass
    assert closed.wait(5)


@kept
def test_calls_one_after_another_share_a_thread() -> None:
    threads, seen = Threads(), []

    def produce() -> Iterator[Chunk]:
        seen.append(threading.get_ident())
        yield Chunk(b"1\n", 1)

    for _ in range(3):
        assert len(list(Bounded(produce, "short").chunks(5, threads))) == 1
        until(lambda: len(threads._idle) == 1)
    assert len(set(seen)) == 1


def test_a_thread_that_was_left_behind_runs_nothing_more() -> None:
    threads, go_on = Threads(), threading.Event()

    def hang() -> Iterator[Chunk]:
        hung.append(threading.current_thread())
        go_on.wait()
        yield Chunk(b"1\n", 1)

    hung: list[threading.Thread] = []
    call = Bounded(hang, "hangs", kill=False)
    with pytest.raises(TimedOut):
        list(call.chunks(0.05, threads))
    assert call.is_abandoned
    go_on.set()
    hung[0].join(5)
    assert not call.is_abandoned
    assert not hung[0].is_alive()
    assert not threads._idle


def test_no_more_is_produced_than_a_little_ahead_of_who_takes_it() -> None:
    produced = []

    def produce() -> Iterator[Chunk]:
        for number in range(100):
            produced.append(number)
            yield Chunk(b"1\n", 1)

    chunks = Bounded(produce, "eager").chunks(20, Threads())
    for taken, _ in enumerate(chunks, 1):
        until(lambda taken=taken: len(produced) >= min(taken + CHUNKS_AHEAD, 100))
        assert len(produced) <= taken + CHUNKS_AHEAD + 1
    assert len(produced) == 100


@kept
def test_one_context_is_not_seen_by_the_next_call_in_its_thread() -> None:
    threads, seen = Threads(), []
    variable: ContextVar[str] = ContextVar("variable", default="nothing")

    def produce() -> Iterator[Chunk]:
        seen.append(variable.get())
        variable.set("something")
        return
        yield

    for _ in range(2):
        assert list(Bounded(produce, "sets").chunks(5, threads)) == []
        until(lambda: len(threads._idle) == 1)
    assert seen == ["nothing", "nothing"]


@kept
def test_who_leaves_a_call_that_has_just_ended_does_not_end_the_next_one_in_its_thread() -> None:
    """A call may end between the look at it and its end by force."""
    threads, go_on, ended = Threads(), threading.Event(), []
    thread = threads.run(first := lambda: None, "first")
    until(lambda: threads._idle)

    def wait() -> None:
        go_on.wait(5)
        ended.append(True)

    threads.run(wait, "second")
    thread.leave(first, kill=True)
    go_on.set()
    until(lambda: threads._idle)
    assert ended


def test_what_code_leaves_in_a_thread_s_own_variables_is_not_there_for_the_next() -> None:
    """A database session, say, which what closes it after each task would look for in another thread."""
    threads, local, seen = Threads(), threading.local(), []

    def produce() -> Iterator[Chunk]:
        seen.append(getattr(local, "session", None))
        local.session = "open"
        yield Chunk(b"1\n", 1)

    for _ in range(3):
        list(Bounded(produce, "leaves something").chunks(5, threads))
        until(
            lambda: threads._idle or not any(one.name.startswith("leaves something") for one in threading.enumerate())
        )
    assert seen == [None, None, None]
