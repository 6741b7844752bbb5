"""What ends on the loop is settled beside it, together with what ended meanwhile, and never in somebody's way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from celery_collectors.ledger import Grant
from celery_collectors.worker.attempt import Attempt
from celery_collectors.worker.settler import AT_ONCE, Settler
from tests.unit.test_bounded import until

OK = Attempt(state="ok")


def grant(ref: str, request_id: str = "r") -> Grant:
    return Grant(go=True, ref=ref, request_id=request_id, generation=1, attempt=1)


class Ledger:
    """Notes what is settled together; a call waits at the gate, and may fail."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.dropped: list[str] = []
        self.gate = threading.Event()
        self.error: Exception | None = None

    def settle(self, ended: Sequence[tuple[Grant, Attempt]]) -> None:
        self.calls.append([f"{one.request_id}{one.ref}" for one, _ in ended])
        assert self.gate.wait(5)
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def drop(self, *held: Any) -> None:
        self.dropped += [f"{one.request_id}{one.ref}" for one in held]


class Turning:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def settle(self, settler: Settler, one: Grant, conclude: Callable[[], Attempt] = lambda: OK) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(settler.settle(one, conclude), self.loop)

    def end(self) -> None:
        if self.loop.is_closed():
            return
        self.loop.set_exception_handler(lambda _loop, _context: None)  # what nobody ends any more is no news
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    found = Ledger()
    yield found
    found.gate.set()


@pytest.fixture
def settler(ledger: Ledger) -> Iterator[Settler]:
    with ThreadPoolExecutor(4) as executor:
        yield Settler(ledger.settle, ledger.drop, executor)
        ledger.gate.set()


@pytest.fixture
def turning() -> Iterator[Turning]:
    found = Turning()
    yield found
    found.end()


def test_what_ends_while_one_batch_is_under_way_gathers_for_the_next(
    ledger: Ledger, settler: Settler, turning: Turning
) -> None:
    first = turning.settle(settler, grant("0"))
    until(lambda: ledger.calls == [["r0"]])
    later = [turning.settle(settler, grant(str(number))) for number in range(1, 6)]
    until(lambda: len(settler._waiting) == 5)
    assert ledger.calls == [["r0"]], "one call at a time"
    assert not first.done()
    ledger.gate.set()
    for one in (first, *later):
        one.result(5)
    assert ledger.calls == [["r0"], ["r1", "r2", "r3", "r4", "r5"]]
    assert ledger.dropped == []


def test_each_request_has_a_call_of_its_own_and_none_is_too_long(
    ledger: Ledger, settler: Settler, turning: Turning
) -> None:
    first = turning.settle(settler, grant("0"))
    until(lambda: ledger.calls)
    later = [turning.settle(settler, grant(str(number), "ab"[number % 2])) for number in range(2 * AT_ONCE + 2)]
    until(lambda: len(settler._waiting) == len(later))
    ledger.gate.set()
    for one in (first, *later):
        one.result(5)
    calls = [(call[0][0], len(call)) for call in ledger.calls[1:]]
    assert calls == [("a", AT_ONCE), ("a", 1), ("b", AT_ONCE), ("b", 1)]


def test_what_it_came_to_is_found_out_beside_the_loop(ledger: Ledger, settler: Settler, turning: Turning) -> None:
    """To store the rest of an output may take long."""
    where: list[threading.Thread] = []

    def conclude() -> Attempt:
        where.append(threading.current_thread())
        return OK

    ledger.gate.set()
    turning.settle(settler, grant("0"), conclude).result(5)
    assert where != [turning.thread]


@pytest.mark.parametrize("where", ["the ledger", "what it came to"])
def test_a_failure_drops_leases_and_releases_those_who_wait(
    ledger: Ledger, settler: Settler, turning: Turning, where: str
) -> None:
    def fails() -> Attempt:
        raise ConnectionError("reset by peer")

    ledger.error = ConnectionError("reset by peer") if where == "the ledger" else None
    ledger.gate.set()
    turning.settle(settler, grant("0"), fails if where != "the ledger" else lambda: OK).result(5)
    assert ledger.dropped == ["r0"]
    turning.settle(settler, grant("1")).result(5)
    assert ledger.calls[-1] == ["r1"]
    assert ledger.dropped == ["r0"]


def test_a_failure_of_one_request_costs_another_nothing(ledger: Ledger, settler: Settler, turning: Turning) -> None:
    first = turning.settle(settler, grant("0"))
    until(lambda: ledger.calls)
    others = [turning.settle(settler, grant("0", name)) for name in "ab"]
    until(lambda: len(settler._waiting) == 2)
    ledger.error = ConnectionError("reset by peer")  # for the first
    ledger.gate.set()
    for one in (first, *others):
        one.result(5)
    assert ledger.dropped == ["r0"]
    assert ledger.calls == [["r0"], ["a0"], ["b0"]]


def test_a_loop_that_was_left_does_no_harm_to_the_one_in_its_place(
    ledger: Ledger, settler: Settler, turning: Turning
) -> None:
    """Runs of one request may be on both, and end in one batch."""
    left = Turning()
    first = turning.settle(settler, grant("0"))
    until(lambda: ledger.calls)
    left.settle(settler, grant("1"))
    until(lambda: len(settler._waiting) == 1)
    after = turning.settle(settler, grant("2"))
    until(lambda: len(settler._waiting) == 2)
    left.end()
    ledger.gate.set()
    first.result(5)
    after.result(5)
    assert ledger.calls == [["r0"], ["r1", "r2"]]
    turning.settle(settler, grant("3")).result(5)


def test_it_waits_for_a_thread_to_be_had(ledger: Ledger, settler: Settler, turning: Turning) -> None:
    submit, failed = settler._executor.submit, []

    def fails_once(work: Callable[[], Any]) -> Any:
        if not failed:
            failed.append(work)
            raise RuntimeError("can't start new thread")
        return submit(work)

    settler._executor.submit = fails_once  # type: ignore[method-assign]
    ledger.gate.set()
    for one in [turning.settle(settler, grant(ref)) for ref in "01"]:
        one.result(5)
    turning.settle(settler, grant("2")).result(5)
    assert failed
    assert ledger.dropped == []


def test_whoever_waits_no_more_does_no_harm(ledger: Ledger, settler: Settler, turning: Turning) -> None:
    first = turning.settle(settler, grant("0"))
    until(lambda: ledger.calls)
    gone, stays = (turning.settle(settler, grant(ref)) for ref in "12")
    until(lambda: len(settler._waiting) == 2)
    gone.cancel()
    ledger.gate.set()
    first.result(5)
    stays.result(5)
