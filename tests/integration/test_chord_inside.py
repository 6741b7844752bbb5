"""Chords that tasks open, declared collectors and stages in chords, and the app's other tasks beside them."""

from __future__ import annotations

import re
import uuid
from typing import Any

import celery
import pytest
from celery import group

from celery_collectors import chord
from tests.integration import chord_app
from tests.integration.chord_app import add, echo, fail, gather, join
from tests.integration.chord_world import Chords, chords, no_worker, until

__all__ = ["chords", "no_worker"]


# Inside a task ------------------------------------------------------------------------------------------


def deliver(task: Any, word: str, times: int, **kwargs: Any) -> None:
    """Send the same task, under one id, so many times."""
    task_id = str(uuid.uuid4())
    for _ in range(times):
        task.apply_async((word,), kwargs, task_id=task_id)


@pytest.mark.promise(5)
def test_a_task_that_is_delivered_again_opens_no_second_request(chords: Chords) -> None:
    word = chords.word()
    deliver(chord_app.opens, word, 3)
    until(lambda: len(chords.noted(word)) == 3, "it ran three times")
    until(lambda: chords.noted(f"{word}-called"), "the callback is called")
    assert len({tuple(ids) for ids in chords.noted(word)}) == 1
    for request_id, _ in chords.noted(word):
        chords.collectors.get(request_id).wait(10)
    assert chords.noted(f"{word}-called") == [[1, 2]]


def test_not_even_if_it_makes_up_another_request_id(chords: Chords) -> None:
    """The id that it made up is in its members' arguments, too: they get the one that counts."""
    word = chords.word()
    deliver(chord_app.opens_with_its_own_id, word, 3)
    until(lambda: len(chords.noted(word)) == 3, "it ran three times")
    (counts,) = {counts for _, counts in chords.noted(word)}
    chords.collectors.get(counts).wait(10)
    assert len({made_up for made_up, _ in chords.noted(word)}) == 3
    assert chords.noted(f"{word}-called") == [[counts]]


def test_nor_if_its_members_have_times(chords: Chords) -> None:
    """How long it still is until then is another number at each delivery."""
    word = chords.word()
    deliver(chord_app.opens_for_later, word, 2, when="2020-01-01T00:00:00+00:00")
    until(lambda: len(chords.noted(word)) == 2, "it ran twice")
    assert len({request_id for request_id, _ in chords.noted(word)}) == 1


def test_two_equal_chords_in_one_task_are_two_requests(chords: Chords) -> None:
    word = chords.word()
    deliver(chord_app.opens, word, 2, how="twice")
    until(lambda: len(chords.noted(word)) == 4, "it ran twice")
    found = {request_id for request_id, _ in chords.noted(word)}
    assert len(found) == 2
    for request_id in found:
        chords.collectors.get(request_id).wait(10)
    assert chords.noted(f"{word}-called") == [[1, 2], [1, 2]]


def test_a_task_that_is_tried_again_opens_a_new_one(chords: Chords) -> None:
    word = chords.word()
    chord_app.opens.delay(word, how="retry")
    until(lambda: len(chords.noted(word)) == 2, "it was tried again")
    first, second = chords.noted(word)
    assert first != second


def test_a_member_may_open_one_itself(chords: Chords) -> None:
    word = chords.word()
    assert chord([chord_app.opens.s(word)])(gather.s()).get(timeout=20) == [None]
    until(lambda: chords.noted(f"{word}-called"), "the inner callback is called")


# Declared ones ------------------------------------------------------------------------------------------


def test_declared_collectors_as_members(chords: Chords) -> None:
    word = chords.word()
    sources = chord_app.flaky_source.s("a", word=word), chord_app.async_source.s("b", 3), chord_app.async_list.s("c")
    result = chord([*sources, chord_app.async_source.s("d", times=0), echo.s(1)], deadline=20)(gather.s())
    assert result.get(timeout=20) == [["a", "A"], ["b0", "b1", "b2"], ["c"], [], 1]
    found = result.report().outcomes
    assert (found["flaky_source"].attempts, len(chords.noted(word)), found["async_source[3]"].state) == (3, 3, "empty")


def test_a_collectors_own_time_limit_holds(chords: Chords) -> None:
    result = chord([chord_app.slow_source.s("a"), echo.s(1)], deadline=20)(gather.s())
    assert result.get(timeout=10) == [1]
    assert result.report().outcomes["slow_source"].state == "timed_out"


def test_a_collector_in_a_chain_gets_the_step_before(chords: Chords) -> None:
    result = chord([echo.s("x") | chord_app.async_list.s() | echo.s()], deadline=20)(gather.s())
    assert result.get(timeout=20) == [["x"]]


def test_a_declared_gathering_goes_on_with_cleanup_and_process(chords: Chords) -> None:
    word = chords.word()
    header = [chord_app.async_list.s("a"), fail.s(), echo.s(["b", "dirt"])]
    result = chord(header, topic="t", deadline=20)(join.s(more=7), link=chord_app.linked.s(word))
    assert result.get(timeout=20) == {
        "items": ["t", 7, "a", "b"], "asked": ["async_list", "echo", "fail"], "request_id": result.request_id
    }  # fmt: skip
    assert set(result.report().stages) == {"gathering", "cleanup", "process"}
    until(lambda: chords.noted(word), "its link is called at the very end")
    assert chords.noted(word)[0]["items"] == ["t", 7, "a", "b"]


def test_a_declared_gathering_goes_on_in_place_once_it_is_known_to_be_short(chords: Chords) -> None:
    """Unless its message was to be one of its own."""

    def gathering_messages(callback: Any) -> set[str]:
        asked = [chord([chord_app.quick_source.s("a")], topic="t", deadline=20)(callback) for _ in range(10)]
        assert [result.get(timeout=20)["items"] for result in asked] == [["t", 7, "a"]] * 10
        received = re.findall(r"chord_app\.join\[(\S+?)-gathering-\S+\] received", chords.logs())
        return {result.request_id for result in asked} & set(received)

    until(lambda: len(gathering_messages(join.s(more=7))) < 10, "it goes on in place")
    assert len(gathering_messages(join.s(more=7).set(priority=5))) == 10


def test_a_declared_gathering_gets_a_value_for_what_failed(chords: Chords) -> None:
    result = chord([fail.s(), echo.s(["a"])], missing=["none"], deadline=20)(join.s())
    assert result.get(timeout=20)["items"] == ["none", "a"]


# The app's other tasks ----------------------------------------------------------------------------------


def test_a_task_that_a_member_gives_its_headers_on_to_is_run(chords: Chords) -> None:
    (task_id,) = chord([chord_app.hands_on.s(1, 2)], deadline=20)(chord_app.gather.s()).get(timeout=20)
    assert chords.app.AsyncResult(task_id).get(timeout=20) == 3


def test_other_tasks_are_as_before(chords: Chords) -> None:
    """Results, retries, links, errbacks, canvas: none of it goes through the ledger."""
    link, error, again = chords.word(), chords.word(), chords.word()
    assert add.apply_async((1, 2), link=chord_app.linked.s(link)).get(timeout=20) == 3
    with pytest.raises(ValueError, match="no such feed"):
        fail.apply_async(link_error=chord_app.on_error_by_id.s(error)).get(timeout=20)
    assert chord_app.retried.delay(again, 1).get(timeout=20) == [1, 1]
    assert (add.s(1, 2) | add.s(3)).delay().get(timeout=20) == 6
    assert group(add.s(1, 2), add.s(3, 4)).delay().get(timeout=20) == [3, 7]
    until(lambda: chords.noted(link) and chords.noted(error), "the links are called")
    seen = chord_app.introspect.delay().get(timeout=20)
    assert seen["current"] is None
    assert chords.collectors.list().requests == [] or seen["root_id"] not in str(chords.collectors.list())


def test_celerys_own_chord_still_is_one(chords: Chords) -> None:
    word = chords.word()
    found = celery.chord([add.s(1, 2), add.s(3, 4)])(gather.s())
    assert found.get(timeout=20) == [3, 7]
    failing = celery.chord([add.s(1, 2), fail.s()])(chord_app.gather_noting.s(word))
    with pytest.raises(ValueError, match="no such feed"):
        failing.get(timeout=20)
    assert chords.noted(word) == []


def test_ours_in_a_task_that_is_replaced_or_ignored_by_celery(chords: Chords) -> None:
    """What we add to a task's ``on_replace`` and tracer is for our messages only."""
    assert chord_app.ends.delay("replace").get(timeout=20) == 42
    result = chord_app.ends.delay("ignore")
    assert chord_app.ends.delay("well").get(timeout=20) == "well"
    assert result.state in ("PENDING", "IGNORED")
