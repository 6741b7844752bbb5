"""``chord`` in Celery's shape: what it takes, what it returns, what the callback gets, what follows."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from celery import group
from celery.exceptions import ChordError, TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult

from celery_collectors import ChordFailed, chord
from tests.integration import chord_app
from tests.integration.chord_app import add, echo, fail, gather, gather_failing, gather_noting, gather_reporting
from tests.integration.chord_world import Chords, chords, no_worker, until

__all__ = ["chords", "no_worker"]

pytestmark = pytest.mark.usefixtures("chords")


def states(result: Any) -> dict[str, str]:
    return {name: str(one.state) for name, one in result.report().outcomes.items()}


# The call -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["(header)(body)", "apply_async", "delay", "(header)(body, link)"])
def test_the_calls_are_celerys(chords: Chords, call: str) -> None:
    word = chords.word()
    header, body = [add.s(1, 2), add.s(3, 4)], gather.s()
    result = {
        "(header)(body)": lambda: chord(header)(body),
        "apply_async": lambda: chord(header, body).apply_async(),
        "delay": lambda: chord(header, body).delay(),
        "(header)(body, link)": lambda: chord(header)(body, link=chord_app.linked.s(word)),
    }[call]()
    assert result.get(timeout=20) == [3, 7]
    if "link" in call:
        assert until(lambda: chords.noted(word), "the link is called") == [[3, 7]]


def test_arguments_of_the_call_go_to_every_member_before_its_own() -> None:
    assert chord([add.s(1), add.s(2), echo.si("own")], gather.s()).apply_async((10,)).get(timeout=20) == [11, 12, "own"]
    assert chord([add.s(y=1)], gather.s()).delay(x=5).get(timeout=20) == [6]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (lambda: (echo.s(number) for number in range(3)), [0, 1, 2]),
        (lambda: group(echo.s(number) for number in range(3)), [0, 1, 2]),
        (lambda: (echo.s(1), echo.s(2)), [1, 2]),
        (lambda: echo.s("single"), ["single"]),
        (lambda: [dict(echo.s("as text"))], ["as text"]),
        (list, []),
        (lambda: group([]), []),
    ],
)
def test_what_a_header_may_be(header: Any, found: Any) -> None:
    assert chord(header())(gather.s()).get(timeout=20) == found


@pytest.mark.heavy
def test_five_hundred_members(chords: Chords) -> None:
    result = chord((add.s(number, number) for number in range(500)), deadline=60)(gather.s())
    assert result.get(timeout=60) == [2 * number for number in range(500)]


def test_what_is_said_of_a_group_or_in_the_call_holds_for_members_that_do_not_say_it() -> None:
    special = f"{chord_app.app.conf.task_default_queue}.special"
    seen = chord_app.introspect
    header = group(seen.s().set(priority=2), seen.s()).set(priority=8, queue=special)
    assert [(one["priority"], one["queue"]) for one in chord(header)(gather.s()).get(timeout=20)] == [
        (2, special), (8, special)
    ]  # fmt: skip
    (one,) = chord([seen.s()], gather.s()).apply_async(priority=7).get(timeout=20)
    assert one["priority"] == 7


def test_a_request_id_and_a_topic_of_ones_own(chords: Chords) -> None:
    mine = uuid.uuid4()
    result = chord([echo.s(1)], request_id=mine, topic="python")(gather.s())
    assert (result.request_id, result.id, result.report().topic) == (str(mine), str(mine), "python")
    assert chords.collectors.get(str(mine)).wait().result == [1]
    assert chord([echo.s(1)])(gather.s()).report().topic == gather.name


# Names, order, the policy -------------------------------------------------------------------------------


def test_members_are_named_after_their_tasks_and_by_position_where_a_task_appears_again() -> None:
    result = chord([echo.s(1), add.s(1, 2), echo.s(2)], required=["add", "echo[2]"])(gather.s())
    assert result.get(timeout=20) == [1, 3, 2]
    assert list(result.report().outcomes) == ["echo[0]", "add", "echo[2]"]


def test_the_callback_gets_what_succeeded_in_the_headers_order() -> None:
    result = chord(group(add.s(1, 2), fail.s(), echo.s("three")))(gather.s())
    assert result.get(timeout=20) == [3, "three"]
    assert (result.report().state, states(result)) == ("partial", {"add": "ok", "fail": "failed", "echo": "ok"})
    assert result.report().outcomes["fail"].error.message == "no such feed"


@pytest.mark.parametrize("missing", [None, -1, [], {"a": 1}])
def test_the_callback_gets_a_value_in_the_failed_ones_places(missing: Any) -> None:
    result = chord([fail.s(), echo.s("two"), fail.s()], missing=missing)(gather.s())
    assert result.get(timeout=20) == [missing, "two", missing]


def test_the_callback_gets_the_report_if_it_asks_by_name() -> None:
    result = chord([echo.s(1), fail.s()])(gather_reporting.s())
    assert result.get(timeout=20) == {"values": [1], "states": {"echo": "ok", "fail": "failed"}}


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        ({"min_ok": 3}, None),
        ({"min_ok": 2}, [1, 2]),
        ({"required": ["fail"]}, None),
        ({"required": "echo[0]"}, [1, 2]),
        ({"min_ok": 0, "only": 1}, []),
    ],
)
def test_what_counts_as_an_answer(policy: dict[str, Any], found: Any) -> None:
    header = [fail.s()] if policy.pop("only", None) else [echo.s(1), fail.s(), echo.s(2)]
    result = chord(header, **policy)(gather.s())
    if found is None:
        with pytest.raises(ChordFailed):
            result.get(timeout=20)
    else:
        assert result.get(timeout=20) == found


def test_the_first_so_many_are_enough(chords: Chords) -> None:
    word = chords.word()
    result = chord([chord_app.gated.s(word), echo.s("quick")], first=1, deadline=20)(gather.s())
    assert result.get(timeout=20) == ["quick"]
    chords.write(word)
    assert states(result) == {"gated": "skipped", "echo": "ok"}


# The result ---------------------------------------------------------------------------------------------


def test_the_result_is_an_async_result(chords: Chords) -> None:
    word = chords.word()
    result = chord([chord_app.gated.s(word)], deadline=20)(gather.s())
    assert isinstance(result, AsyncResult)
    assert (result.ready(), result.state, result.result, result.id) == (False, "PENDING", None, result.request_id)
    with pytest.raises(CeleryTimeoutError):
        result.get(timeout=0.1)
    chords.write(word)
    assert result.get(timeout=20) == [word]
    assert (result.ready(), result.state, result.result, result.successful()) == (True, "SUCCESS", [word], True)
    elsewhere = AsyncResult(result.id, app=chords.app)
    until(elsewhere.ready, "it is stored")
    until(lambda: result.forget() or result.state == "UNKNOWN", "nothing of it is on its way any more")
    assert AsyncResult(result.id, app=chords.app).state == "PENDING"


def test_a_failed_one_raises_what_celerys_does(chords: Chords) -> None:
    result = chord([fail.s()])(gather.s())
    with pytest.raises(ChordError, match="0 answered"):
        result.get(timeout=20)
    assert isinstance(result.get(timeout=20, propagate=False), ChordFailed)
    assert (result.state, result.failed()) == ("FAILURE", True)


def test_a_callback_that_fails_says_why() -> None:
    result = chord([echo.s(1)])(gather_failing.s())
    with pytest.raises(RuntimeError, match="can't join them"):
        result.get(timeout=20)
    assert "gather_failing" in result.traceback


def test_revoking_cancels_it(chords: Chords) -> None:
    word = chords.word()
    result = chord([chord_app.gated.s(word)], deadline=20)(gather.s())
    until(lambda: chords.noted(f"{word}-waits"), "it runs")
    result.revoke()
    chords.write(word)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=20)
    assert (result.state, result.report().state) == ("REVOKED", "cancelled")


def test_an_ordinary_result_of_its_id_says_the_same_elsewhere(chords: Chords) -> None:
    """In another process, which knows nothing of it but the id."""
    word = chords.word()
    good = chord([echo.s({"a": 1})])(gather.s(), task_id=str(uuid.uuid4()))
    bad = chord([fail.s()])(gather.s())
    gone = chord([chord_app.gated.s(word)], deadline=20)(gather.s())
    gone.revoke()
    chords.write(word)
    program = f"""
from celery.exceptions import ChordError, TaskRevokedError
from celery.result import AsyncResult
from tests.integration.chord_app import app
print(AsyncResult({good.id!r}, app=app).get(timeout=20))
for id, error in ({bad.id!r}, ChordError), ({gone.id!r}, TaskRevokedError):
    result = AsyncResult(id, app=app)
    try:
        result.get(timeout=20)
    except error:
        print(result.state)
"""
    assert chords.python(program).splitlines() == ["[{'a': 1}]", "FAILURE", "REVOKED"]
    assert good.id != good.request_id


# What follows -------------------------------------------------------------------------------------------


def test_links_of_the_callback_and_of_the_call(chords: Chords) -> None:
    one, other, error = chords.word(), chords.word(), chords.word()
    body = gather.s()
    body.link(chord_app.linked.s(one))
    asked = chord([echo.s(1)], body)
    asked.link_error(chord_app.on_error_by_id.s(error))
    asked.apply_async(link=[chord_app.linked.si("fixed", other)]).get(timeout=20)
    until(lambda: chords.noted(one) and chords.noted(other), "both are called")
    assert (chords.noted(one), chords.noted(other), chords.noted(error)) == ([[1]], ["fixed"], [])


@pytest.mark.parametrize("body", [gather, gather_failing])
def test_errbacks_of_both_kinds_are_called_once(chords: Chords, body: Any) -> None:
    new, old, immutable, link = (chords.word() for _ in range(4))
    header = [fail.s(), fail.s()] if body is gather else [echo.s(1)]
    asked = chord(header, body.s().on_error(chord_app.on_error.s(new)))
    asked.on_error(chord_app.on_error_by_id.s(old)).link_error(chord_app.noted.si(immutable))
    asked.link(chord_app.linked.s(link))
    result = asked.apply_async()
    with pytest.raises(Exception, match=r"answered|join"):
        result.get(timeout=20)
    until(lambda: all(chords.noted(word) for word in (new, old, immutable)), "all three are called")
    kind, text = ("ChordFailed", "0 answered") if body is gather else ("RuntimeError", "can't join them")
    ((failed_id, error, message),) = chords.noted(new)
    assert (failed_id, error, message[: len(text)]) == (result.request_id, kind, text)
    assert (chords.noted(old), len(chords.noted(immutable)), chords.noted(link)) == ([result.request_id], 1, [])


def test_the_errback_is_not_called_for_a_partial_answer(chords: Chords) -> None:
    word, called = chords.word(), chords.word()
    result = chord([fail.s(), echo.s(1)])(gather_noting.s(called), link_error=chord_app.on_error.s(word))
    assert (result.get(timeout=20), chords.noted(called), chords.noted(word)) == ([1], [[1]], [])


def test_a_members_own_links_are_called(chords: Chords) -> None:
    """As in Celery, by the member's worker: at least once."""
    link, error = chords.word(), chords.word()
    good = echo.s(1).set(link=chord_app.linked.s(link))
    bad = fail.s().set(link_error=chord_app.on_error_by_id.s(error))
    assert chord([good, bad])(gather.s()).get(timeout=20) == [1]
    until(lambda: chords.noted(link) and chords.noted(error), "both are called")
    assert chords.noted(link) == [1]
