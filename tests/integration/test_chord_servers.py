"""Chords on each of the set-ups, with messages that are doubled there; and in an app that pickles."""

from __future__ import annotations

from typing import Any

import pytest

from celery_collectors import ChordFailed, chord
from tests.integration import chord_app, duplicates
from tests.integration.chord_app import add, echo, fail, gather
from tests.integration.chord_world import Chords, no_worker, own, until

__all__ = ["no_worker", "own"]


def doubled(chords: Chords, queue: str) -> int:
    """Double what waits in a queue."""
    with chords.app.connection_for_write() as connection:
        return duplicates.doubled(connection, queue)


def test_every_message_is_delivered_twice(own: Chords) -> None:
    """Members run once, and so do the callback, the link and the errback: the second copy is refused."""
    queue = own.app.conf.task_default_queue
    words = {name: own.word() for name in ("member", "callback", "error", "failing")}
    good = chord([chord_app.noted.s(words["member"])], deadline=60)(chord_app.gather_noting.s(words["callback"]))
    bad = chord([fail.s(word=words["failing"])], deadline=60)(
        gather.s(), link_error=chord_app.on_error.s(words["error"])
    )
    assert doubled(own, queue) == 4
    first = own.worker("threads", 1)
    assert good.get(timeout=30) == [1]
    with pytest.raises(ChordFailed):
        bad.get(timeout=30)
    until(lambda: own.noted(words["error"]), "the errback is called")
    first.kill()
    first.wait(10)
    assert {name: len(own.noted(word)) for name, word in words.items()} == dict.fromkeys(words, 1)


def test_callback_and_errback_messages_that_are_doubled(own: Chords) -> None:
    """A worker for the members only, so that what follows can be doubled before anybody takes it."""
    queue, special = own.app.conf.task_default_queue, f"{own.app.conf.task_default_queue}.special"
    called, error = own.word(), own.word()
    members = own.worker("threads", 1, "-Q", special)
    good = chord([chord_app.routed.s(1)], deadline=60)(chord_app.gather_noting.s(called))
    bad = chord([fail.s().set(queue=special)], deadline=60)(gather.s(), link_error=chord_app.on_error.s(error))
    until(lambda: good.report().state == "gathering" and bad.report().state == "failed", "the members have ended")
    assert until(lambda: doubled(own, queue), "messages are there") in (2, 4)
    own.worker("threads", 2, "-Q", queue)
    assert good.get(timeout=30) == [1]
    until(lambda: own.noted(error), "the errback is called")
    assert chord([add.s(1, 2).set(queue=queue)])(gather.s()).get(timeout=20) == [3], "the queue has been worked off"
    assert (len(own.noted(called)), len(own.noted(error)), members.poll()) == (1, 1, None)


def test_the_whole_way(own: Chords) -> None:
    own.worker("prefork", 2)
    link, again = own.word(), own.word()
    special = f"{own.app.conf.task_default_queue}.special"
    header = [
        add.s(1, 2) | add.s(3),
        chord_app.retried.s(again, 1),
        fail.s(),
        chord_app.introspect.s().set(priority=3, queue=special, countdown=1),
        echo.s("x" * 300_000),
        chord_app.async_list.s("a"),
    ]
    result = chord(header, missing=None, deadline=40)(gather.s(), link=chord_app.linked.s(link))
    found: list[Any] = result.get(timeout=60)
    assert (found[:3], found[5]) == ([6, [1, 1], None], ["a"])
    assert (found[3]["priority"], found[3]["queue"], len(found[4])) == (3, special, 300_000)
    until(lambda: own.noted(link), "its link is called")
    elsewhere = f"from tests.integration.chord_app import app; print(app.AsyncResult({result.id!r}).get(timeout=20)[0])"
    assert own.python(elsewhere) == "6"


@pytest.mark.setups("rabbitmq")
def test_large_arguments_by_name(own: Chords) -> None:
    own.worker("threads", 1)
    assert chord([echo.s(value="x" * 300_000)], deadline=5)(gather.s()).get(timeout=20) == ["x" * 300_000]


PICKLED = """
import datetime, uuid
from celery import group
from celery_collectors import ChordFailed, chord
from tests.integration.chord_app import Point, add, echo, ends, gather, opens_with_its_own_id
values = [Point(1, 2), (1, 2), {3}, datetime.date(2020, 1, 1), ValueError("a value"), b"bytes"]
result = chord([echo.s(value) for value in values] + [ends.s("unpicklable")], missing=Point(0, 0))(gather.s())
found = result.get(timeout=20)
print(found[:4] == values[:4], repr(found[4]), found[5:] == [b"bytes", Point(0, 0)])
print(result.report().outcomes["ends"].error.message[:40])
print(repr(chord([])(echo.si(ValueError("returned"))).get(timeout=20)))
print(app.AsyncResult(result.id).get(timeout=20)[0]) if (app := echo.app) else None
"""


def test_an_app_that_pickles(no_worker: Chords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHORD_APP_SERIALIZER", "pickle")
    monkeypatch.setenv("C_FORCE_ROOT", "1")  # Celery would not start such a worker in a container's root shell
    no_worker.worker("prefork", 2)
    said = no_worker.python(PICKLED).splitlines()
    assert said[0] == "True ValueError('a value') True"
    assert said[1].startswith("returned function, which pickle can't")
    assert said[2:] == ["ValueError('returned')", "Point(x=1, y=2)"]


@pytest.mark.heavy
def test_a_redelivered_task_opens_no_second_request_if_the_app_pickles(
    no_worker: Chords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its members' arguments, where the id stands, are bytes then."""
    monkeypatch.setenv("CHORD_APP_SERIALIZER", "pickle")
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    no_worker.stop()
    no_worker.worker("prefork", 2)
    word = no_worker.word()
    for _ in range(2):
        chord_app.opens_with_its_own_id.apply_async((word,), task_id=f"task-{word}")
    until(lambda: len(no_worker.noted(word)) == 2, "it ran twice")
    (counts,) = {counts for _, counts in no_worker.noted(word)}
    until(lambda: no_worker.collectors.get(counts).state == "complete", "it is done")
    assert no_worker.noted(f"{word}-called") == [[counts]]
