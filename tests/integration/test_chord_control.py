"""A chord that is cancelled, tried again, or let go first: what becomes of members, callback, links and results."""

from __future__ import annotations

from typing import Any

import psutil
import pytest
from celery.result import AsyncResult

from celery_collectors import ChordFailed, chord
from celery_collectors.errors import RefusedError
from tests.integration import chord_app
from tests.integration.chord_app import add, echo, gather, noted
from tests.integration.chord_world import Chords, alone, no_worker, until

__all__ = ["alone", "no_worker"]


@pytest.fixture(scope="module")
def chords(no_worker: Chords) -> Chords:
    """A world with a prefork worker, whose children may die."""
    no_worker.worker("prefork", 2)
    return no_worker


def test_a_cancelled_member_s_process_ends(alone: Chords) -> None:
    alone.worker("prefork", 1)
    word = alone.word()
    result = chord([chord_app.gated.s(word)], deadline=60)(gather.s())
    pid = until(lambda: alone.noted(f"{word}-waits"), "it runs")[0]
    result.request.cancel("enough")
    until(lambda: not psutil.pid_exists(pid), "its process is gone", within_s=15)
    assert result.report().outcomes["gated"].state == "cancelled"
    other = chord([add.s(1, 2)], deadline=30)(gather.s())
    assert other.get(timeout=30) == [3]
    assert len(alone.noted(f"{word}-waits")) == 1, "it is not run again for it"


def test_one_that_failed_is_tried_again_and_its_callback_gets_all(chords: Chords) -> None:
    word = chords.word()
    header = [chord_app.mends.s(word, f"{word}-gate"), noted.s(f"{word}-kept")]
    result = chord(header, min_ok=2, deadline=20)(gather.s())
    until(lambda: result.report().outcomes["noted"].state == "ok", "the other has answered")
    chords.write(f"{word}-gate")
    with pytest.raises(ChordFailed):
        result.get(timeout=20)
    plain: Any = AsyncResult(result.id, app=chords.app)
    until(lambda: plain.state == "FAILURE", "Celery's backend has the first end")
    chords.write(word)
    assert result.request.retry().runs == ("mends",)
    assert result.get(timeout=20) == ["mended", 1]
    assert (result.state, len(chords.noted(f"{word}-kept"))) == ("SUCCESS", 1)
    until(lambda: AsyncResult(result.id, app=chords.app).state == "SUCCESS", "Celery's backend has the second")
    assert AsyncResult(result.id, app=chords.app).get(timeout=5) == ["mended", 1]


def test_a_partial_success_gives_way_to_the_whole_one(chords: Chords) -> None:
    """Celery's own backends never replace a stored success."""
    word = chords.word()
    result = chord([chord_app.mends.s(word), echo.s(2)], deadline=20)(gather.s())
    assert result.get(timeout=20) == [2]
    until(lambda: AsyncResult(result.id, app=chords.app).ready(), "Celery's backend has the first end")
    chords.write(word)
    result.request.retry()
    assert result.get(timeout=20) == ["mended", 2]
    until(lambda: AsyncResult(result.id, app=chords.app).result == ["mended", 2], "and the second")


def test_each_end_calls_its_own_links(chords: Chords) -> None:
    word = chords.word()
    callback = gather.s().set(link_error=noted.si(f"{word}-bad")).set(link=noted.si(f"{word}-good"))
    result = chord([chord_app.mends.s(word), echo.s(2)], min_ok=2, deadline=20)(callback)
    with pytest.raises(ChordFailed):
        result.get(timeout=20)
    until(lambda: chords.noted(f"{word}-bad"), "its errback was called")
    chords.write(word)
    until(lambda: _retried(result), "what the first end called is done")
    assert result.get(timeout=20) == ["mended", 2]
    until(lambda: chords.noted(f"{word}-good"), "its link was called")
    assert (len(chords.noted(f"{word}-bad")), len(chords.noted(f"{word}-good"))) == (1, 1)


def _retried(result: Any) -> bool:
    try:
        result.request.retry()
    except RefusedError as error:
        assert "on its way" in str(error)
        return False
    return True


def test_members_of_a_chord_go_first_in_a_queue_of_the_app_s_own(alone: Chords) -> None:
    word = alone.word()
    many = [chord([noted.s(f"{word}-many", n) for n in range(100)], deadline=120)(gather.s()) for _ in range(2)]
    urgent = chord([noted.s(f"{word}-urgent")], deadline=120)(gather.s())
    many_before = [result.request.reprioritise("low") for result in many]
    assert many_before == ["collecting", "collecting"]
    alone.worker("threads", 1)
    urgent.get(timeout=60)
    assert len(alone.noted(f"{word}-many")) <= 20
    for result in many:
        result.request.cancel("the test is over")
