"""Turns in one helper thread: each ends by itself, and none holds up, spoils or outlives the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from celery_collectors.context import current
from celery_collectors.errors import LedgerUnavailable, PayloadsUnavailable, Stopped, TimedOut
from celery_collectors.ledger import Grant, Reply, Settled, Verdict
from celery_collectors.payloads import PayloadStore, Value
from celery_collectors.payloads.codec import Chunk
from celery_collectors.payloads.store import BLOB_BYTES
from celery_collectors.settings import Settings
from celery_collectors.worker import pack
from celery_collectors.worker.attempt import Attempt
from celery_collectors.worker.pack import OVERRUN_S, InTurn, TakingTurns, Turn
from celery_collectors.worker.threads import TELLS, Threads
from tests.unit.test_bounded import until

kept = pytest.mark.skipif(not TELLS, reason="there each turn has a thread of its own")
ROW = "x" * BLOB_BYTES  # so that each item is stored when it is handed over


class Blobs:
    """Keeps large values in memory; may be slow, or away for the next few."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, int], bytes] = {}
        self.pause_s = 0.0
        self.fails = 0

    def put(self, key: str, number: int, data: bytes, *, ttl_s: float) -> None:  # noqa: ARG002 - nothing expires here
        time.sleep(self.pause_s)
        if self.fails:
            self.fails -= 1
            raise PayloadsUnavailable("away")
        self.stored[key, number] = data

    def get(self, key: str, number: int) -> bytes | None:
        return self.stored.get((key, number))

    def keep(self, key: str, *, ttl_s: float) -> bool:  # noqa: ARG002 - nothing expires here
        return True


class Ledger:
    """Notes how attempts were settled; may be away."""

    def __init__(self) -> None:
        self.settled: list[list[Settled]] = []
        self.unwanted: list[str] = []
        self.away_at: int | None = None

    @contextmanager
    def answering(self) -> Iterator[None]:
        yield

    def settle_together(self, ended: Sequence[Settled], *, go_on: Any = None) -> Reply:  # noqa: ARG002 - no stages
        if self.away_at == len(self.settled):
            raise LedgerUnavailable("away")
        self.settled.append(list(ended))
        return Reply(kept=True, each=[Verdict(ref=one.held.ref, kept=True, state=one.state) for one in ended])

    def payload_key(self, held: Any) -> str:
        return f"key:{held.ref}.{held.attempt}"

    def note_stored(self, held: Any, *_: Any) -> None:
        """What is stored would be noted here."""

    def note_unwanted(self, held: Any) -> None:
        self.unwanted.append(held.ref)

    def states(self) -> dict[str, str]:
        return {one.held.ref: one.state for ended in self.settled for one in ended}


class Keeper:
    """Holds leases, and renews none."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.on_gone: dict[str, Callable[[str], None]] = {}

    def hold_all(self, held: Mapping[Any, Callable[[str], None]]) -> None:
        self.held |= {one.ref for one in held}
        self.on_gone = {one.ref: on_gone for one, on_gone in held.items()}

    def told(self, reason: str) -> None:
        """As when the whole request is gone."""
        for on_gone in self.on_gone.values():
            on_gone(reason)

    def drop(self, *held: Any) -> None:
        self.held -= {one.ref for one in held}


class Process:
    """Those parts of a process that a pack needs, without a server."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.ledger = Ledger()
        self.keeper = Keeper()
        self.threads = Threads()
        self.blobs = Blobs()
        self.store = PayloadStore(self.blobs, inline_bytes=10, ttl_s=60)  # type: ignore[arg-type] # none is deleted
        self.runtime = self
        self.hooks = ()
        self.abandoned: list[Any] = []

    def who(self) -> dict[str, Any]:
        return {}

    def publish(self, *_: Any) -> None:
        """There is nothing to send."""

    def count_abandoned(self, call: Any) -> int:
        self.abandoned.append(call)
        return len(self.abandoned)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One on which a pack has so much time that a busy machine does not end it."""
    monkeypatch.setattr(pack, "OVERRUN_S", 30.0)
    return Process()


@pytest.fixture
def in_a_second(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On which it has the time that it has."""
    monkeypatch.setattr(pack, "OVERRUN_S", OVERRUN_S)


@contextmanager
def outside() -> Iterator[None]:
    yield


def turn(process: Any, ref: str, call: Callable[[], Any], *, limit_s: float = 30) -> Turn:
    grant = Grant(
        go=True, request_id="r", ref=ref, name=f"name {ref}", topic="t", generation=1, attempt=1,
        ends_in_ms=limit_s * 1000, finish_in_ms=60_000,
    )  # fmt: skip
    return Turn(process, grant, call)


def turns(process: Any, *calls: Callable[[], Any]) -> list[Turn]:
    return [turn(process, str(number), call) for number, call in enumerate(calls)]


def one_after_another(some: Sequence[Turn], on_overrun: Callable[[], None] = lambda: None) -> InTurn:
    return InTurn(some, outside, time.monotonic() + OVERRUN_S, on_overrun)


def take(some: Sequence[Turn]) -> InTurn:
    call = one_after_another(some)
    for one, chunk in call.chunks(OVERRUN_S, Threads()):
        one.take(chunk)
    return call


def answers() -> list[int]:
    return [1]


def raising(error: BaseException) -> Callable[[], Any]:
    def call() -> Any:
        raise error

    return call


class Gate:
    """Blocks a turn until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> list[int]:
        self.entered.set()
        assert self.opened.wait(20)
        return [1]


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.opened.set()


# In one thread ----------------------------------------------------------------------------------------


@kept
def test_they_share_a_thread_and_hand_nothing_over_on_the_way(process: Any) -> None:
    seen: list[int] = []
    some = turns(process, *[lambda: [seen.append(threading.get_ident())]] * 5)
    call = one_after_another(some)
    assert list(call.chunks(OVERRUN_S, Threads())) == []
    assert len(seen) == 5
    assert len(set(seen)) == 1
    assert [one.conclude().state for one in some] == ["ok"] * 5


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"), SystemExit(3), MemoryError(), KeyboardInterrupt(), GeneratorExit(), StopIteration(),
        RecursionError(), BaseException("x"), TimedOut("its own"), LedgerUnavailable("its own"), Stopped("its own"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_one_raises_is_its_own_outcome(process: Any, error: BaseException) -> None:
    some = turns(process, answers, raising(error), answers)
    TakingTurns(process, some, outside).execute()
    states = process.ledger.states()
    assert (states["0"], states["2"]) == ("ok", "ok")
    assert states["1"] == ("timed_out" if isinstance(error, TimedOut) else "failed")
    assert len(process.ledger.settled) == 1, "one call for all"
    assert process.keeper.held == set()


def test_bad_items_and_none_are_each_an_outcome(process: Any) -> None:
    some = turns(process, lambda: [object()], lambda: "text", lambda: None, lambda: iter([1, 2]), lambda: 1)
    TakingTurns(process, some, outside).execute()
    assert list(process.ledger.states().values()) == ["failed", "failed", "empty", "ok", "failed"]
    assert [one.items for one in process.ledger.settled[0]] == [0, 0, 0, 2, 0]


def test_one_context_is_not_seen_by_the_next(process: Any) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nothing")
    seen: list[tuple[str, str]] = []

    def sets() -> Iterator[int]:
        here = current()
        assert here is not None
        seen.append((variable.get(), here.name))
        variable.set("something")
        yield 1
        assert variable.get() == "something"

    take(some := turns(process, sets, sets, raising(ValueError()), sets))
    assert seen == [("nothing", f"name {ref}") for ref in "013"]
    assert [one.conclude().state for one in some] == ["ok", "ok", "failed", "ok"]


def test_what_one_leaves_in_a_thread_s_own_variables_is_not_there_for_the_next(process: Any) -> None:
    local, seen = threading.local(), []

    def leaves_something() -> list[int]:
        seen.append(getattr(local, "session", None))
        local.session = "open"
        return [1]

    some = turns(process, leaves_something, answers, leaves_something, leaves_something)
    TakingTurns(process, some, outside).execute()
    assert seen == [None, None, None]
    assert list(process.ledger.states().values()) == ["ok"] * 4


def test_the_task_of_celery_is_entered_and_left_once_for_each_thread(process: Any) -> None:
    within: list[str] = []

    @contextmanager
    def enters() -> Iterator[None]:
        within.append("in")
        yield
        within.append("out")

    TakingTurns(process, turns(process, *[answers] * 3), enters).execute()
    assert within in (["in", "out"], ["in", "out"] * 3)


# Output -----------------------------------------------------------------------------------------------


def big(chunks: int) -> Callable[[], Iterator[str]]:
    def call() -> Iterator[str]:
        for number in range(chunks):
            yield f"{number}{ROW}"

    return call


def stored(process: Any, one: Settled) -> list[str]:
    """The items that the settled value stands for."""
    return list(process.store.items(Value.from_bytes(one.value)))


def test_large_output_of_several_is_whole(process: Any) -> None:
    TakingTurns(process, turns(process, big(3), answers, big(9), big(1)), outside).execute()
    (settled,) = process.ledger.settled
    assert [one.items for one in settled] == [3, 1, 9, 1]
    assert [item[0] for item in stored(process, settled[2])] == list("012345678")


def test_a_time_out_of_the_next_takes_nothing_from_who_is_still_being_stored(process: Any, gate: Gate) -> None:
    """Its code has ended when the store has taken but the first part of what it produced."""
    process.blobs.pause_s = 0.1
    some = [turn(process, "0", big(4)), turn(process, "1", gate, limit_s=0.1), turn(process, "2", answers)]
    TakingTurns(process, some, outside).execute()
    assert process.ledger.states() == {"0": "ok", "1": "timed_out", "2": "ok"}
    first = next(one for ended in process.ledger.settled for one in ended if one.held.ref == "0")
    assert [item[0] for item in stored(process, first)] == list("0123")


@pytest.mark.usefixtures("in_a_second")
def test_an_overrun_settles_nobody_who_is_still_being_stored(process: Any) -> None:
    process.blobs.pause_s = OVERRUN_S / 3
    TakingTurns(process, turns(process, big(5), answers), outside).execute()
    first = next(one for ended in process.ledger.settled for one in ended if one.held.ref == "0")
    assert (first.state, first.items) == ("ok", 5)
    assert [item[0] for item in stored(process, first)] == list("01234")


def test_a_store_that_was_away_for_a_moment_makes_no_hole(process: Any, gate: Gate) -> None:
    """The code had ended well when its first part could not be stored, and the last one could be."""
    some = turns(process, big(4), answers)
    some[0].take = slow = Slow(some[0].take)  # type: ignore[method-assign]
    slow.until = lambda: some[0].has_ended
    process.blobs.fails = 1
    TakingTurns(process, some, outside).execute()
    (first,) = (one for ended in process.ledger.settled for one in ended if one.held.ref == "0")
    assert (first.state, first.error and first.error.type, first.again_s) == ("failed", "PayloadsUnavailable", 5.0)
    assert process.ledger.states()["1"] in ("ok", "queued")


class Slow:
    """Takes what is handed over only when a condition holds."""

    def __init__(self, take: Callable[[Chunk], None]) -> None:
        self._take = take
        self.until: Callable[[], bool] = lambda: True

    def __call__(self, chunk: Chunk) -> None:
        until(self.until)
        self._take(chunk)


def test_what_is_too_large_costs_the_others_nothing(process: Any) -> None:
    process.settings = Settings(run_max_items=2)
    TakingTurns(process, turns(process, answers, big(3), big(2), lambda: [1, 2, 3]), outside).execute()
    states = process.ledger.states()
    assert (states["0"], states["1"], states["2"], states["3"]) == ("ok", "failed", "ok", "failed")
    assert process.ledger.unwanted == ["1"], "what it has stored can go"


# Time -------------------------------------------------------------------------------------------------


def test_one_that_times_out_costs_the_others_nothing(process: Any, gate: Gate) -> None:
    some = [turn(process, "0", answers), turn(process, "1", gate, limit_s=0.2), turn(process, "2", answers)]
    ended = TakingTurns(process, some, outside).execute()
    assert process.ledger.states() == {"0": "ok", "1": "timed_out", "2": "ok"}
    (settled,) = process.ledger.settled
    assert [one.error and one.error.message for one in settled] == [None, "did not end within its 0.2 s", None]
    assert 0.2 <= settled[1].run_s < 5
    assert ended.attempt is None
    assert len(process.abandoned) == 1


def test_each_has_its_time_from_when_it_begins(process: Any) -> None:
    def takes_a_while() -> list[int]:
        time.sleep(0.5)
        return [1]

    some = [turn(process, str(number), takes_a_while, limit_s=1.9) for number in range(4)]
    TakingTurns(process, some, outside).execute()
    assert set(process.ledger.states().values()) == {"ok"}


@pytest.mark.usefixtures("in_a_second")
def test_after_a_second_the_rest_is_given_up(process: Any, gate: Gate) -> None:
    some = turns(process, answers, gate, answers, answers)
    taking = threading.Thread(target=TakingTurns(process, some, outside).execute)
    taking.start()
    until(lambda: process.ledger.settled)
    assert {one.held.ref: one.state for one in process.ledger.settled[0]} == {"0": "ok", "2": "queued", "3": "queued"}
    assert process.keeper.held == {"1"}, "it goes on, and keeps its lease"
    assert not gate.opened.is_set()
    gate.opened.set()
    taking.join(20)
    assert process.ledger.states()["1"] == "ok"
    assert process.keeper.held == set()


@pytest.mark.usefixtures("in_a_second")
def test_a_second_is_a_second_for_all_its_threads_together(process: Any) -> None:
    """Where each leaves something in its thread, each has one of its own."""
    local, ran = threading.local(), []

    def leaves_something() -> list[int]:
        local.session = "open"
        ran.append(1)
        time.sleep(OVERRUN_S * 0.4)
        return [1]

    TakingTurns(process, turns(process, *[leaves_something] * 8), outside).execute()
    assert len(ran) <= 4
    states = list(process.ledger.states().values())
    assert sorted(set(states)) == ["ok", "queued"]
    assert states.count("ok") == len(ran)


@pytest.mark.usefixtures("in_a_second")
def test_those_that_time_out_one_after_another_use_up_the_second_too(process: Any) -> None:
    def hangs() -> list[int]:
        time.sleep(2)
        return [1]

    some = [turn(process, str(number), hangs, limit_s=0.4) for number in range(8)]
    TakingTurns(process, some, outside).execute()
    states = list(process.ledger.states().values())
    assert 1 <= states.count("timed_out") <= 4
    assert states.count("queued") == 8 - states.count("timed_out")


# Its end from outside ---------------------------------------------------------------------------------


def executed(process: Any, some: Sequence[Turn]) -> tuple[threading.Thread, list[Attempt | None]]:
    ended: list[Attempt | None] = []
    taking = threading.Thread(target=lambda: ended.append(TakingTurns(process, some, outside).execute().attempt))
    taking.start()
    return taking, ended


def test_a_stop_ends_the_one_whose_turn_it_is_and_begins_no_other(process: Any, gate: Gate) -> None:
    began: list[int] = []
    taking, ended = executed(process, turns(process, answers, gate, lambda: [began.append(1)]))
    assert gate.entered.wait(5)
    process.keeper.told("cancelled")
    taking.join(20)
    assert not taking.is_alive()
    assert process.ledger.states() == {"0": "ok", "1": "failed", "2": "queued"}
    assert ended[0] is not None
    assert isinstance(ended[0].cause, Stopped)
    gate.opened.set()
    assert began == []


def test_a_stop_settles_nobody_whose_output_is_not_all_stored(process: Any, gate: Gate) -> None:
    """One lease that is gone stops them all, and another's code may have ended long before its output is stored."""
    some = turns(process, big(4), gate)
    some[0].take = slow = Slow(some[0].take)  # type: ignore[method-assign]
    slow.until = lambda: gate.entered.is_set() and not process.keeper.told("gone")
    TakingTurns(process, some, outside).execute()
    assert process.ledger.states() == {"0": "queued", "1": "failed"}


def test_a_stop_between_two_threads_is_heard_by_the_next(process: Any) -> None:
    """The keeper says it once."""
    local, began = threading.local(), []
    some = turns(process, *[lambda: [began.append(1)]] * 3)

    def leaves_something() -> list[int]:
        local.session = "open"
        return [1]

    turns_of_all = TakingTurns(process, [turn(process, "first", leaves_something), *some], outside)
    take_them = turns_of_all._take

    def take_and_be_told(waiting: Sequence[Turn]) -> None:
        take_them(waiting)
        process.keeper.told("cancelled")  # where the helper thread that has ended would have been stopped

    turns_of_all._take = take_and_be_told  # type: ignore[method-assign]
    turns_of_all.execute()
    assert began == []
    assert process.ledger.states() == {"first": "ok", "0": "queued", "1": "queued", "2": "queued"}


@pytest.mark.usefixtures("in_a_second")
def test_while_the_ledger_is_away_leases_lapse_and_no_other_begins(process: Any, gate: Gate) -> None:
    process.ledger.away_at = 0
    began: list[int] = []

    def shrugs() -> list[int]:
        """Survives being left behind."""
        while not gate.opened.is_set():
            try:
                time.sleep(0.01)
            except BaseException:  # noqa: BLE001 - that is what it is for
                continue
        return [1]

    some = turns(process, answers, shrugs, lambda: [began.append(1)])
    with pytest.raises(LedgerUnavailable):
        TakingTurns(process, some, outside).execute()
    assert process.keeper.held == set()
    gate.opened.set()
    until(lambda: some[1].has_ended)
    assert began == []


def test_those_that_were_left_behind_begin_no_other(process: Any, gate: Gate) -> None:
    """Also if nobody gave the rest up: the process that waited has met something else."""
    began: list[int] = []

    def shrugs() -> list[int]:
        gate.entered.set()
        while not gate.opened.is_set():
            try:
                time.sleep(0.01)
            except BaseException:  # noqa: BLE001 - that is what it is for
                continue
        return [1]

    some = [turn(process, "0", shrugs, limit_s=0.1), turn(process, "1", lambda: [began.append(1)])]
    with pytest.raises(TimedOut):
        list(one_after_another(some).chunks(OVERRUN_S, Threads()))
    gate.opened.set()
    until(lambda: some[0].has_ended)
    assert began == []


def test_no_thread_to_be_had_gives_all_of_them_back(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(process.threads, "run", none)
    TakingTurns(process, turns(process, answers, answers), outside).execute()
    assert process.ledger.states() == {"0": "queued", "1": "queued"}
    assert process.keeper.held == set()
