"""What dies in the middle of a chord: its member's process, its callback's, its errback's, the whole worker."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from celery_collectors import ChordFailed, chord
from tests.integration import chord_app
from tests.integration.chord_app import add, dies, dies_early, dies_late, echo, fail, gather
from tests.integration.chord_world import Chords, alone, no_worker, until

__all__ = ["alone", "no_worker"]

AT_ONCE_S = 10  # a lease would lapse after 20


@pytest.fixture(scope="module")
def chords(no_worker: Chords) -> Chords:
    """A world with a prefork worker, whose children may die."""
    no_worker.worker("prefork", 2)
    return no_worker


def outcome(result: Any, name: str) -> tuple[str, int, str]:
    found = result.report().outcomes[name]
    return (str(found.state), found.attempts, found.error.type if found.error else "")


# A child of the pool ------------------------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize("member", [dies, dies_late], ids=["dies", "dies_late"])
@pytest.mark.alone
def test_a_member_whose_process_dies_is_run_again_at_once(chords: Chords, member: Any) -> None:
    word, began = chords.word(), time.monotonic()
    result = chord([member.s(word), add.s(1, 2)], deadline=30)(gather.s())
    assert result.get(timeout=30) == [2, 3]
    assert time.monotonic() - began < AT_ONCE_S
    assert (outcome(result, member.name.rpartition(".")[2]), len(chords.noted(word))) == (("ok", 2, ""), 2)


@pytest.mark.heavy
@pytest.mark.alone
def test_one_that_acknowledges_early_is_lost_and_not_run_again(chords: Chords) -> None:
    word, began = chords.word(), time.monotonic()
    result = chord([dies_early.s(word), add.s(1, 2)], deadline=30)(gather.s())
    assert result.get(timeout=30) == [3]
    assert time.monotonic() - began < AT_ONCE_S
    assert (outcome(result, "dies_early"), len(chords.noted(word))) == (("lost", 1, "Lost"), 1)


@pytest.mark.heavy
def test_one_that_kills_every_process_is_lost_in_the_end(chords: Chords) -> None:
    word = chords.word()
    result = chord([dies.s(word, times=99), add.s(1, 2)], deadline=40)(gather.s())
    assert result.get(timeout=40) == [3]
    assert (outcome(result, "dies"), len(chords.noted(word))) == (("lost", 3, "Lost"), 3)


@pytest.mark.heavy
def test_only_the_step_is_run_again_whose_process_died(chords: Chords) -> None:
    first, second = chords.word(), chords.word()
    member = chord_app.noted.s(first) | dies.si(second) | echo.s()
    result = chord([member], deadline=30)(gather.s())
    assert result.get(timeout=30) == [2]
    assert (len(chords.noted(first)), len(chords.noted(second)), outcome(result, "noted")[1]) == (1, 2, 4)


@pytest.mark.heavy
def test_a_callback_whose_process_dies_is_run_again_and_counts_once(chords: Chords) -> None:
    word, link = chords.word(), chords.word()
    result = chord([echo.s(1)], deadline=20)(dies.si(word), link=chord_app.linked.s(link))
    assert result.get(timeout=30) == 2
    until(lambda: chords.noted(link), "its link is called")
    assert (len(chords.noted(word)), chords.noted(link)) == (2, [2])
    assert result.report().stages["gathering"].attempts == 2


@pytest.mark.heavy
def test_an_errback_whose_process_dies_is_run_again_and_counts_once(chords: Chords) -> None:
    word = chords.word()
    result = chord([fail.s()], deadline=20)(gather.s(), link_error=dies.si(word))
    with pytest.raises(ChordFailed):
        result.get(timeout=20)
    until(lambda: len(chords.noted(word)) == 2, "it is run again")
    until(lambda: _ends(result) == 1, "it is settled")
    assert (len(chords.noted(word)), _ends(result)) == (2, 1)


def _ends(result: Any) -> int:
    """How often a link's end was committed."""
    found = result.request._reader.events(result.request_id)
    return sum(event.subject == "link" and event.state == "ok" for event in found)


def test_what_runs_into_a_hard_time_limit_has_timed_out_and_did_not_crash(chords: Chords) -> None:
    word = chords.word()
    result = chord([chord_app.over_hard_limit.s(word), add.s(1, 2)], deadline=30)(gather.s())
    assert result.get(timeout=20) == [3]
    assert (outcome(result, "over_hard_limit"), len(chords.noted(word))) == (("timed_out", 1, "Timeout"), 1)


def test_what_runs_into_a_soft_time_limit_has_timed_out(chords: Chords) -> None:
    result = chord([chord_app.hang.s().set(soft_time_limit=1), add.s(1, 2)], deadline=30)(gather.s())
    assert result.get(timeout=20) == [3]
    assert outcome(result, "hang") == ("timed_out", 1, "SoftTimeLimitExceeded")


@pytest.mark.alone
def test_a_child_that_is_killed_from_outside(chords: Chords) -> None:
    word, began = chords.word(), time.monotonic()
    result = chord([chord_app.gated.s(word)], deadline=30)(gather.s())
    pid = until(lambda: chords.noted(f"{word}-waits"), "it runs")[0]
    os.kill(pid, signal.SIGKILL)
    chords.write(word)
    assert result.get(timeout=30) == [word]
    assert time.monotonic() - began < AT_ONCE_S
    assert outcome(result, "gated") == ("ok", 2, "")


# The deadline -------------------------------------------------------------------------------------------


@pytest.mark.heavy
def test_what_hangs_is_left_at_the_deadline_and_its_slot_comes_back(chords: Chords) -> None:
    word, began = chords.word(), time.monotonic()
    result = chord([chord_app.hang.s(), echo.s(1)], deadline=8)(
        gather.s()
    )  # the other answers before, on a busy machine, too
    assert result.get(timeout=20) == [1]
    assert 7.5 < time.monotonic() - began < 11
    assert outcome(result, "hang") == ("timed_out", 1, "Timeout")
    for _ in range(2):
        chord_app.gated.delay(word)
    until(lambda: len(chords.noted(f"{word}-waits")) == 2, "both slots are back", within_s=15)
    chords.write(word)


@pytest.mark.heavy
def test_a_hang_in_a_threads_pool_costs_its_slot_until_the_worker_starts_again(alone: Chords) -> None:
    """Not the answer; the worker starts again when no slot is left, or three are lost."""
    worker = alone.worker("threads", 2)
    begun = alone.logs().count(" ready.")  # with those of the tests before
    result = chord([chord_app.hang.s(), echo.s(1)], deadline=2)(gather.s())
    assert result.get(timeout=20) == [1]
    chord([chord_app.hang.s()], deadline=2)(gather.s())
    until(lambda: alone.logs().count(" ready.") > begun, "it starts again, with no slot left", within_s=60)
    assert chord([echo.s(2)], deadline=30)(gather.s()).get(timeout=30) == [2]
    assert worker.poll() is None


# The whole worker ---------------------------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_whole_worker_is_killed(alone: Chords, pool: str) -> None:
    first, word, early, noted = alone.worker(pool, 4), alone.word(), alone.word(), alone.word()
    header = [chord_app.gated.s(word), chord_app.gated_early.s(early), chord_app.noted.s(noted)]
    result = chord(header, deadline=100)(gather.s())
    until(lambda: alone.noted(f"{word}-waits") and alone.noted(f"{early}-waits"), "both run")
    until(lambda: outcome(result, "noted")[0] == "ok", "the third is done")
    first.kill()
    first.wait(10)
    alone.write(word)
    alone.write(early)
    alone.worker(pool, 4)
    assert result.get(timeout=60) == [word, 1]
    assert (outcome(result, "gated"), outcome(result, "gated_early")) == (("ok", 2, ""), ("lost", 1, "Lost"))
    assert (len(alone.noted(f"{early}-waits")), len(alone.noted(noted))) == (1, 1)


@pytest.mark.heavy
def test_children_that_are_replaced_after_each_task(alone: Chords) -> None:
    alone.worker("prefork", 2, "--max-tasks-per-child", "1")
    result = chord([echo.s(number) for number in range(8)], deadline=60)(gather.s())
    assert result.get(timeout=60) == list(range(8))
    assert {one.attempts for one in result.report().outcomes.values()} == {1}


@pytest.mark.heavy
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_is_stopped_in_good_order_finishes_what_it_runs(alone: Chords, pool: str) -> None:
    worker, word = alone.worker(pool, 2), alone.word()
    result = chord([chord_app.gated.s(word)], deadline=60)(gather.s())
    until(lambda: alone.noted(f"{word}-waits"), "it runs")
    worker.terminate()
    alone.write(word)
    worker.wait(20)
    alone.worker(pool, 2)
    assert result.get(timeout=40) == [word]
    assert outcome(result, "gated") == ("ok", 1, "")
