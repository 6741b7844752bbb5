"""Packs on real workers: several runs, one message, and none that pays for another."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Queue

from celery_collectors import Request
from tests.integration.conftest import Engine, _forget_connections, until
from tests.integration.duplicates import doubled

from tests.integration import pack_app  # isort: skip - after the session has its word

OTHERS = [f"quick_{letter}" for letter in "abcdefghijkl"]
SHORT_MS = 0.1


class Packs:
    """Asks the pack app's collectors, whose run times are known, and starts workers of it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.collectors = pack_app.collectors

    def know(self, run_ms: float, *names: str) -> None:
        """Let the ledger know how long these collectors take, as if it had seen them."""
        declared = self.collectors.registry.collectors
        self.engine.know(run_ms, *(declared[name].task.name for name in names))

    def ask(self, *names: str, topic: str = "pack", deadline: float = 40, **options: Any) -> Request:
        return self.collectors.request(topic, only=names, deadline=deadline, **options)

    def worker(self, pool: str = "prefork", concurrency: int = 1, *args: str, **env: str) -> subprocess.Popen[bytes]:
        return self.engine.worker(pool, concurrency, *args, app="tests.integration.pack_app", **env)

    def messages(self) -> list[list[str]]:
        """Which runs each message calls for that waits in the broker, by their refs; they go on waiting."""
        taken = []
        with pack_app.app.connection_for_write() as connection:
            queue = Queue(self.collectors.settings.queue)(connection.default_channel)
            while (message := queue.get()) is not None:
                taken.append(message)
            for message in taken:
                message.requeue()
        named = [message.headers["collectors"] for message in taken]
        return sorted(one.get("refs") or [one["ref"]] for one in named)

    def noted(self, word: str) -> int:
        return len(self.pids(word))

    def pids(self, word: str) -> list[int]:
        """The processes that noted a word."""
        path = self.engine.notes / word
        return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []

    def received(self, task: str) -> int:
        """How often workers got a message of this task."""
        return sum(f"{task}[" in line and "received" in line for line in self.engine.logs().splitlines())


@pytest.fixture
def packs(engine: Engine) -> Iterator[Packs]:
    """The engine of the pack app, which knows all its collectors as short."""
    found, theirs = Packs(engine), engine.collectors
    engine.collectors = found.collectors
    found.collectors.configure(ledger=engine.setup.ledger_url)
    found.know(SHORT_MS, *(name for name in found.collectors.registry.collectors if name[:4] not in ("crow", "wait")))
    yield found
    engine.collectors = theirs
    found.collectors.configure(ledger=None)
    _forget_connections(pack_app.app)


def states(request: Request) -> dict[str, str]:
    return {name: str(outcome.state) for name, outcome in request.report().outcomes.items()}


def attempts(request: Request) -> dict[str, int]:
    return {name: outcome.attempts for name, outcome in request.report().outcomes.items()}


# Which share one --------------------------------------------------------------------------------------


@pytest.mark.everywhere
def test_what_is_known_to_be_short_shares_a_message(packs: Packs, pool: str) -> None:
    packs.know(900, "flaky")
    request = packs.ask(*OTHERS[:8], "flaky", "empty")
    assert packs.messages() == [[str(number) for number in (0, 1, 2, 3, 4, 5, 6, 8, 9)], ["7"]]
    packs.worker(pool)
    report = request.wait()
    assert (report.state, report.result) == ("complete", 9)
    assert packs.received("collectors.pack") == 1
    assert {packs.noted(name) for name in OTHERS[:8]} == {1}
    assert attempts(request) == {**dict.fromkeys([*OTHERS[:8], "empty"], 1), "flaky": 2}


def test_what_nobody_knows_is_alone_until_it_is_known(packs: Packs) -> None:
    for shard in packs.collectors.client.ledger.shards:
        packs.engine.ledger_client.delete(f"{shard}:times")
    request = packs.ask(*OTHERS)
    assert packs.messages() == sorted([str(number)] for number in range(12))
    packs.worker()
    assert request.wait().state == "complete"
    packs.know(SHORT_MS, *OTHERS)  # on each shard, and however slow this machine is
    packs.collectors.configure()  # it asks once in a while
    again = packs.ask(*OTHERS)
    assert again.wait().state == "complete"
    assert packs.received("collectors.pack") == 1


def test_each_sends_a_message_for_each(packs: Packs) -> None:
    request = packs.ask(*OTHERS, messages="each")
    assert len(packs.messages()) == 12
    packs.worker()
    assert request.wait().state == "complete"
    assert packs.received("collectors.pack") == 0


def test_what_is_expected_to_take_long_together_gets_several(packs: Packs) -> None:
    packs.know(4.9, *OTHERS)
    request = packs.ask(*OTHERS)
    assert [len(refs) for refs in packs.messages()] == [10, 2]
    packs.worker()
    assert request.wait().state == "complete"


# Each has an outcome of its own -----------------------------------------------------------------------


@pytest.mark.everywhere
def test_whatever_one_does_is_its_own_outcome(packs: Packs, pool: str) -> None:
    names = ["quick_a", "raises", "bad_items", "exits", "out_of_memory", "empty", "flaky", "big", "quick_g"]
    request = packs.ask(*names)
    assert len(packs.messages()) == 1
    worker = packs.worker(pool)
    report = request.wait()
    errors = {name: (str(one.state), one.error and one.error.type) for name, one in report.outcomes.items()}
    assert errors == {
        "quick_a": ("ok", None),
        "raises": ("failed", "ValueError"),
        "bad_items": ("failed", "BadItems"),
        "exits": ("failed", "SystemExit"),
        "out_of_memory": ("failed", "MemoryError"),
        "empty": ("empty", None),
        "flaky": ("ok", None),
        "big": ("ok", None),
        "quick_g": ("ok", None),
    }
    assert attempts(request) == {**dict.fromkeys(names, 1), "flaky": 2}
    assert (report.state, report.result) == ("partial", 3003)
    rows = [item for item in request.items() if len(item) == 1000]
    assert [int(row) for row in rows] == list(range(3000)), "large output arrives whole"
    assert packs.pids("quick_a") == packs.pids("quick_g"), "in one process, which none of them ended"
    assert worker.poll() is None


def test_a_time_out_of_one_in_the_middle_costs_the_others_nothing(packs: Packs, pool: str) -> None:
    request = packs.ask("quick_a", "hangs", "quick_g")
    packs.worker(pool)
    report = request.wait()
    assert states(request) == {"quick_a": "ok", "hangs": "timed_out", "quick_g": "ok"}
    assert attempts(request) == dict.fromkeys(["quick_a", "hangs", "quick_g"], 1)
    assert report.outcomes["hangs"].run_s == pytest.approx(0.5, abs=0.4)
    assert packs.collectors.request("pack", only=["quick_b"], deadline=20).wait().state == "complete"


def test_one_that_overruns_gives_up_the_rest_which_others_run_meanwhile(packs: Packs, pool: str) -> None:
    names = ["quick_a", "gated", "quick_g", "quick_h"]
    request = packs.ask(*names)
    packs.worker(pool, 2)
    ends = {"quick_a": "ok", "gated": "running", "quick_g": "ok", "quick_h": "ok"}
    until(lambda: states(request) == ends, "the others are through while one blocks", within_s=15)
    assert packs.received("collectors.pack") == 1
    packs.engine.write("gate")
    assert request.wait().state == "complete"
    assert {name: packs.noted(name) for name in ("quick_a", "quick_g", "quick_h", "gate-waits")} == {
        "quick_a": 1, "quick_g": 1, "quick_h": 1, "gate-waits": 1,
    }  # fmt: skip
    assert request.report().outcomes["gated"].attempts == 1


# Deaths -----------------------------------------------------------------------------------------------


@pytest.mark.everywhere
def test_after_a_death_each_goes_alone(packs: Packs) -> None:
    names = [*OTHERS, "dies_once"]
    request = packs.ask(*names)
    packs.worker()
    report = request.wait()
    assert (report.state, set(states(request).values())) == ("complete", {"ok"})
    assert set(attempts(request).values()) == {2}
    assert packs.noted("dies_once") == 2
    assert packs.received("collectors.pack") == 1
    assert {packs.noted(name) for name in OTHERS[6:]} == {1}, "those had not begun"


def test_poison_is_lost_at_the_cap_and_no_neighbour_is(packs: Packs) -> None:
    names = ["quick_a", "quick_b", "poison", "quick_g", "quick_h"]
    request = packs.ask(*names)
    packs.worker()
    report = request.wait()
    assert states(request) == {**dict.fromkeys(names, "ok"), "poison": "lost"}
    assert packs.noted("poison") == packs.collectors.settings.crash_cap
    assert report.state == "partial"
    assert max(packs.noted(name) for name in names if name != "poison") <= 2


@pytest.mark.heavy
def test_a_whole_worker_that_is_killed(packs: Packs, pool: str) -> None:
    names = ["quick_a", "gated", "quick_g"]
    request = packs.ask(*names)
    first = packs.worker(pool)
    until(lambda: packs.noted("gate-waits"), "it is in the middle")
    children = packs.pids("gate-waits")
    packs.engine.kill(first)
    for pid in children:
        _kill(pid)
    packs.engine.write("gate")
    packs.worker(pool)
    assert request.wait().state == "complete"
    assert set(states(request).values()) == {"ok"}
    assert max(attempts(request).values()) <= 3


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


# Messages that are void -------------------------------------------------------------------------------


@pytest.mark.everywhere
def test_a_pack_that_is_delivered_twice_runs_once(packs: Packs, pool: str) -> None:
    request = packs.ask(*OTHERS)
    with pack_app.app.connection_for_write() as connection:
        assert doubled(connection, packs.collectors.settings.queue) == 2
    packs.worker(pool, 2)
    assert request.wait().state == "complete"
    until(lambda: packs.received("collectors.pack") == 2, "both have come")
    assert {packs.noted(name) for name in OTHERS} == {1}
    assert set(attempts(request).values()) == {1}


def test_to_reprioritise_voids_a_pack_that_waits(packs: Packs) -> None:
    request = packs.ask(*OTHERS[:3])
    request.reprioritise("high")
    assert packs.messages() == [["0"], ["0", "1", "2"], ["1"], ["2"]]
    packs.worker()
    assert request.wait().state == "complete"
    until(lambda: not packs.engine.waiting() and packs.received("collectors.pack"), "the void one has come")
    until(lambda: "3 of 3 runs are not run" in packs.engine.logs(), "and was void")
    assert {packs.noted(name) for name in OTHERS[:3]} == {1}


def test_cancel_while_it_waits(packs: Packs, pool: str) -> None:
    request = packs.ask(*OTHERS)
    request.cancel("enough")
    packs.worker(pool)
    other = packs.ask("quick_a", "quick_b")
    assert other.wait().state == "complete"
    assert [packs.noted(name) for name in OTHERS] == [1, 1] + [0] * 10
    assert set(states(request).values()) == {"cancelled"}
    assert set(attempts(request).values()) == {0}


@pytest.mark.promise(7)
def test_cancel_while_it_runs_frees_the_slot_and_begins_no_other(packs: Packs, pool: str) -> None:
    request = packs.ask("quick_a", "gated", "quick_g", "quick_h")
    packs.worker(pool)
    until(lambda: packs.noted("gate-waits"), "it is in the middle")
    request.cancel("enough")
    assert packs.ask("quick_b", "quick_i").wait().state == "complete"
    assert request.report().state == "cancelled"
    assert (packs.noted("quick_g"), packs.noted("quick_h")) == (0, 0)


# What else may end collecting -------------------------------------------------------------------------


def test_first_is_reached_in_a_pack(packs: Packs, pool: str) -> None:
    request = packs.ask("quick_a", "gated", "quick_g", first=1)
    packs.worker(pool)
    report = request.wait()
    assert (report.state, report.result) == ("complete", 1)
    assert states(request) == {"quick_a": "ok", "gated": "skipped", "quick_g": "skipped"}
    assert packs.ask("quick_b", "quick_i").wait().state == "complete", "the slot is free"


def test_first_is_reached_by_several_at_once(packs: Packs) -> None:
    """All of them have answered when the ledger hears of it; the first in the order asked counts."""
    request = packs.ask("quick_a", "quick_b", "quick_g", first=1)
    packs.worker()
    report = request.wait()
    assert (report.state, report.result) == ("complete", 1)
    assert states(request) == {"quick_a": "ok", "quick_b": "skipped", "quick_g": "skipped"}


@pytest.mark.promise(1)
def test_the_deadline_passes_while_it_runs(packs: Packs, pool: str) -> None:
    packs.worker(pool)
    request = packs.ask("quick_a", "gated", "quick_g", deadline=3)
    report = request.wait()
    took_s = (report.finished_at - report.created_at).total_seconds()
    assert (report.state, states(request)["gated"]) == ("partial", "timed_out")
    assert states(request)["quick_a"] == "ok"
    assert took_s < 8
    assert packs.ask("quick_b", "quick_i").wait().state == "complete", "the slot is free"


# Coroutines -------------------------------------------------------------------------------------------


@pytest.mark.everywhere
def test_many_coroutines_in_packs_are_never_more_than_the_cap_at_once(packs: Packs, pool: str) -> None:
    cap = 20
    request = packs.collectors.request("crowd", deadline=60)
    assert [len(refs) for refs in packs.messages()] == [50] * (pack_app.CROWD // 50)
    packs.worker(pool, 2, COLLECTORS_ASYNC_CAP=str(cap))
    report = request.wait()
    assert (report.state, report.result) == ("complete", pack_app.CROWD)
    assert set(states(request).values()) == {"ok"}
    assert set(attempts(request).values()) == {1}
    assert 1 < max(request.items()) <= cap


def test_each_coroutine_of_a_pack_has_its_own_outcome(packs: Packs, pool: str) -> None:
    packs.engine.write("await")
    request = packs.collectors.request("waits", deadline=30)
    assert len(packs.messages()) == 1
    packs.worker(pool)
    assert request.wait().state == "partial"
    answered = {f"waits_{letter}": "ok" for letter in "abcde"}
    assert states(request) == answered | {"async_raises": "failed", "async_hangs": "timed_out"}
    assert set(attempts(request).values()) == {1}


def waiting_together(packs: Packs, pool: str) -> tuple[Request, subprocess.Popen[bytes]]:
    """Five coroutines of one pack, in the middle of what they do."""
    request = packs.ask(*(f"waits_{letter}" for letter in "abcde"), topic="waits")
    assert len(packs.messages()) == 1
    worker = packs.worker(pool)
    until(lambda: packs.noted("await-waits") == 5, "all of them wait")
    return request, worker


def test_a_process_killed_with_a_pack_of_coroutines(packs: Packs) -> None:
    request, _ = waiting_together(packs, "prefork")
    _kill(packs.pids("await-waits")[0])
    packs.engine.write("await")
    assert request.wait().state == "complete"
    assert set(attempts(request).values()) == {2}
    assert packs.received("collectors.pack") == 1, "then each goes alone"


def test_coroutines_of_a_pack_are_cancelled(packs: Packs, pool: str) -> None:
    request, _ = waiting_together(packs, pool)
    request.cancel("enough")
    assert set(states(request).values()) == {"cancelled"}
    assert packs.ask("quick_a", "quick_g").wait().state == "complete"
    until(lambda: packs.engine.logs().count("told to stop: cancelled") == 5, "each is told")


# Workers that end, or are older -----------------------------------------------------------------------


def test_an_orderly_stop_hands_a_pack_of_coroutines_back_at_once(packs: Packs, pool: str) -> None:
    request, first = waiting_together(packs, pool)
    first.terminate()
    assert first.wait(15) == 0
    assert set(states(request).values()) == {"queued"}
    packs.engine.write("await")
    stopped_at = time.monotonic()
    packs.worker(pool)
    assert request.wait().state == "complete"
    assert set(attempts(request).values()) == {2}
    assert time.monotonic() - stopped_at < 15


def test_an_orderly_stop_waits_for_who_runs_and_for_nobody_else(packs: Packs, pool: str) -> None:
    request = packs.ask("quick_a", "gated", "quick_g", "quick_h")
    first = packs.worker(pool, 1, "--prefetch-multiplier", "1")  # else it may have reserved what it gave up
    until(lambda: packs.noted("gate-waits"), "it is in the middle")
    first.terminate()
    packs.worker(pool)
    ends = {"quick_a": "ok", "gated": "running", "quick_g": "ok", "quick_h": "ok"}
    until(lambda: states(request) == ends, "the other worker runs the rest", within_s=15)
    packs.engine.write("gate")
    assert request.wait().state == "complete"
    assert first.wait(15) == 0
    assert (packs.noted("gate-waits"), request.report().outcomes["gated"].attempts) == (1, 1)


@pytest.mark.parametrize("pool", ["prefork"])
def test_a_cold_stop_hands_back_all_that_has_not_been_settled(packs: Packs, pool: str) -> None:
    names = ["quick_a", "gated", "quick_g"]
    request = packs.ask(*names)
    first = packs.worker(pool)
    until(lambda: packs.noted("gate-waits"), "it is in the middle")
    first.send_signal(signal.SIGQUIT)
    first.wait(15)
    left = states(request)
    assert (left["gated"], left["quick_g"]) == ("queued", "queued")
    packs.engine.write("gate")
    packs.worker(pool)
    assert request.wait().state == "complete"
    assert request.report().outcomes["gated"].attempts == 2


def test_a_worker_whose_code_lacks_one_of_them_runs_the_others(packs: Packs, pool: str) -> None:
    request = packs.ask("quick_a", "quick_b", "quick_g")
    packs.worker(pool, PACK_APP_LACKS="quick_b")
    until(lambda: list(states(request).values()).count("ok") == 2, "those that it knows are answered")
    assert packs.noted("quick_b") == 0
    packs.worker(pool)
    assert request.wait().state == "complete"
    assert {packs.noted(name) for name in ("quick_a", "quick_b", "quick_g")} == {1}


def test_a_worker_whose_code_lacks_all_of_them_hands_them_on(packs: Packs) -> None:
    request = packs.ask("quick_a", "quick_b")
    packs.worker(PACK_APP_LACKS="quick_a,quick_b")
    until(lambda: "quick_a" in packs.engine.logs() and packs.received("collectors.pack"), "it has them back")
    packs.worker()
    assert request.wait().state == "complete"
