"""What was asked of each run, and the message that it came with last, where the ledger knows it."""

from __future__ import annotations

import pytest

from celery_collectors.dispatch import task_id
from celery_collectors.errors import RequestUnknown
from celery_collectors.ledger.asked import read_asked, read_call
from celery_collectors.model import Policy
from tests.ledger.world import World, callback, run, stage


def ids(world: World, request_id: str) -> list[str | None]:
    """The task ids of all rows, without the request's."""
    found = [one.message and task_id(one.message) for one in read_asked(world.ledger, request_id).rows]
    return [one and one.removeprefix(f"{request_id}-") for one in found]


def test_rows_stand_in_the_order_asked_and_say_what_was_asked(world: World) -> None:
    names = [f"c[{number}]" for number in range(12)]
    request_id = world.open(*names, run("last", retries=3, timeout_ms=1500, required=True), stages=["process"])
    rows = read_asked(world.ledger, request_id).rows
    assert [one.name for one in rows] == [*names, "last"]  # no stage was reached
    last = rows[-1]
    assert (last.ref, last.task, last.queue, last.timeout_s) == ("12", "t.last", "q", 1.5)
    assert (last.retries, last.required, last.call) == (3, True, False)


def test_the_question_is_told_as_it_stands_now(world: World) -> None:
    request_id = world.open("a", "b", deadline_s=30, policy=Policy(min_ok=0, first=2))
    world.fail(world.start(request_id, "0"))
    world.collect(request_id, "1")
    world.clock.forward(100)
    world.retry(request_id, "0", deadline_s=7, finish_s=5)
    world.reprioritise(request_id, "high")
    found = read_asked(world.ledger, request_id)
    assert (found.topic, found.priority, found.min_ok, found.first) == ("python", "high", 0, 2)
    assert (found.deadline_s, found.finish_s, found.messages) == (7, 5, "auto")


def test_a_call_is_read_up_to_a_size(world: World) -> None:
    request_id = world.open(run("member", call=True), calls={"0": "x" * 10})
    assert read_call(world.ledger, request_id, "0", 10) == "x" * 10
    assert read_call(world.ledger, request_id, "0", 9) is None
    assert read_call(world.ledger, request_id, "1", 10) is None


def test_what_no_worker_has_had_is_no_task_yet(world: World) -> None:
    request_id = world.open("a", "b", messages="each")
    world.start(request_id, "0")
    assert ids(world, request_id) == ["0-1.1", None]


def test_what_may_have_shared_a_message_has_none_of_its_own(world: World) -> None:
    request_id = world.open("a", run("member", call=True), calls={"1": "call"}, stages=[stage("gathering")])
    world.collect(request_id, "0", "1")
    world.start(request_id, "gathering")  # perhaps in place
    assert ids(world, request_id) == [None, "1-1.1", None]


def test_a_chords_callback_has_a_message_of_its_own(world: World) -> None:
    request_id = world.open("a", stages=[callback()], calls={"gathering": "call"})
    world.collect(request_id, "0")
    world.start(request_id, "gathering")
    assert ids(world, request_id) == [None, "gathering-1.1"]


def test_each_row_has_the_generation_in_which_it_was_called_for(world: World) -> None:
    request_id = world.open("a", "b", "c", messages="each")
    world.collect(request_id, "0")
    world.fail(world.start(request_id, "1"))
    world.clock.forward(40)
    world.sweep()  # c has not begun at the deadline
    assert ids(world, request_id) == ["0-1.1", "1-1.1", None]
    (order,) = world.retry(request_id, "1")
    world.start_again(order)
    assert ids(world, request_id) == ["0-1.1", "1-2.2", None]


def test_what_is_called_for_again_goes_alone(world: World) -> None:
    request_id = world.open("a", "b")
    world.start(request_id, "0")
    orders = world.reprioritise(request_id, "high")
    world.start_again(orders[0])
    assert ids(world, request_id) == [None, "1-1.2"]


def test_of_what_the_ledger_does_not_hold_nothing_is_known(world: World) -> None:
    with pytest.raises(RequestUnknown):
        read_asked(world.ledger, "nobody")
