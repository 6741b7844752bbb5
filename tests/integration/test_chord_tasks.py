"""Members are Celery messages of their own tasks: what a task is and says stays so; however it ends, its run ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import chain

from celery_collectors import chord
from tests.integration import chord_app
from tests.integration.chord_app import add, ends, fail, gather, handled, introspect, retried
from tests.integration.chord_world import Chords, chords, no_worker, until

__all__ = ["chords", "no_worker"]


@pytest.fixture(scope="module", params=["prefork", pytest.param("threads", marks=pytest.mark.heavy)])
def chords(no_worker: Chords, request: pytest.FixtureRequest) -> Chords:  # noqa: F811 - on both pools, here
    """A world with a worker; how its tests are ordered, one lives at a time."""
    no_worker.stop()
    no_worker.pool = str(request.param)
    no_worker.worker(no_worker.pool, 4)
    return no_worker


def outcomes(result: Any) -> list[tuple[str, int, str]]:
    """Each member's state, attempts, and the kind of its error."""
    found = result.report().outcomes.values()
    return [(str(one.state), one.attempts, one.error.type if one.error else "") for one in found]


def alone(member: Any, **how: Any) -> Any:
    """A chord over one member; its value, or the chord's result if that failed."""
    result = chord([member], **{"deadline": 20, "min_ok": 0, **how})(gather.s())
    values = result.get(timeout=30)
    return values[0] if values else result


# What a task says of itself -------------------------------------------------------------------------------


def test_a_members_message_is_its_tasks_own(chords: Chords) -> None:
    said = {"priority": 7, "headers": {"tenant": "t"}, "time_limit": 9, "soft_time_limit": 8}
    result = chord([introspect.s(1, {"a": 2}).set(**said)])(gather.s())
    (seen,) = result.get(timeout=20)
    assert seen["name"] == seen["task"] == "tests.integration.chord_app.introspect"
    assert (seen["args"], seen["priority"], seen["header"]) == ([1, {"a": 2}], 7, "t")
    assert (seen["timelimit"], seen["queue"]) == ([9, 8], chords.app.conf.task_default_queue)
    assert (seen["root_id"], seen["retries"]) == (result.request_id, 0)
    assert seen["current"] == [result.request_id, "introspect", 1]
    assert seen["id"].startswith(result.request_id)


@pytest.mark.parametrize("how", ["route", "option"])
def test_a_member_goes_to_the_queue_that_it_would_go_to(chords: Chords, how: str) -> None:
    special = f"{chords.app.conf.task_default_queue}.special"
    member = introspect.s().set(queue=special) if how == "option" else chord_app.routed.s(1)
    found = alone(member)
    assert (found["queue"] if how == "option" else found) == (special if how == "option" else 1)
    route = chords.app.amqp.router.route({}, chord_app.routed.name)
    assert route["queue"].name == special


@pytest.mark.parametrize(
    ("how", "notes"),
    [
        ("succeeds", ["before_start", "call", ["on_success", "succeeds"], ["after_return", "SUCCESS"]]),
        ("fails", ["before_start", "call", ["on_failure", "not at all"], ["after_return", "FAILURE"]]),
        (
            "retries",
            ["before_start", "call", ["on_retry", "once more"], "before_start", "call", ["on_success", "retries"],
             ["after_return", "SUCCESS"]],
        ),
    ],
)  # fmt: skip
def test_a_base_class_has_its_say(chords: Chords, how: str, notes: list[Any]) -> None:
    word = chords.word()
    result = chord([handled.s(word, how)], min_ok=0)(gather.s())
    assert result.get(timeout=20) == ([] if how == "fails" else [how])
    assert chords.noted(word) == notes


def test_an_immutable_callback_gets_its_own_arguments_only(chords: Chords) -> None:
    assert chord([add.s(1, 1)])(chord_app.echo.si("fixed")).get(timeout=20) == "fixed"


# Values -------------------------------------------------------------------------------------------------


def test_values_come_back_as_they_were(chords: Chords) -> None:
    day = datetime(2020, 1, 1, tzinfo=UTC)
    values = [None, [], "", 0, False, {}, [1, 2], day, {"when": day}, "é\ud83d\ude00".encode("utf-16", "surrogatepass")]
    result = chord([chord_app.echo.s(value) for value in values])(gather.s())
    assert result.get(timeout=20) == values
    assert [state for state, _, _ in outcomes(result)] == ["ok", "empty", *["ok"] * 8]
    assert chord([chord_app.echo.s(1)])(chord_app.echo.si(None)).get(timeout=20) is None


def test_a_tuple_is_a_list_as_everywhere_in_json(chords: Chords) -> None:
    assert alone(chord_app.echo.s((1, 2))) == [1, 2]


@pytest.mark.heavy
def test_more_than_five_megabytes(chords: Chords) -> None:
    text = "x" * 6_000_000
    result = chord([chord_app.echo.s(text), chord_app.echo.s(value=text)])(gather.s())
    assert result.get(timeout=60) == [text, text]


# However it ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "state", "error", "says"),
    [
        ("exit", "failed", "SystemExit", "3"),
        ("exit-quietly", "failed", "SystemExit", ""),
        ("ignore", "failed", "Ignore", ""),
        ("reject", "failed", "Reject", "not mine"),
        ("reject-requeue", "failed", "Reject", "not mine"),
        ("soft", "timed_out", "SoftTimeLimitExceeded", ""),
        ("memory", "failed", "MemoryError", ""),
        ("keyboard", "failed", "KeyboardInterrupt", ""),
        ("cancelled", "failed", "CancelledError", ""),
        ("object", "failed", "BadItems", "returned object, which json can't store"),
        ("exception", "failed", "BadItems", "returned ValueError, which json can't store"),
    ],
)
def test_a_member_that_ends_otherwise_has_failed_at_once(
    chords: Chords, how: str, state: str, error: str, says: str
) -> None:
    result = chord([ends.s(how), ends.s("well")], deadline=20)(gather.s())
    assert result.get(timeout=20) == ["well"]
    assert outcomes(result) == [(state, 1, error), ("ok", 1, "")]
    assert says in result.report().outcomes["ends[0]"].error.message
    assert chord([add.s(1, 2)])(gather.s()).get(timeout=20) == [3], "the worker is still there"


@pytest.mark.parametrize(("how", "value"), [("replace", 42), ("replace-chain", 6), ("replace-raised", 42)])
def test_a_member_may_have_itself_replaced(chords: Chords, how: str, value: int) -> None:
    link = chords.word()
    assert alone(ends.s(how).set(link=chord_app.linked.s(link))) == value
    assert until(lambda: chords.noted(link), "its link is called") == [value]


def test_a_replacement_that_fails(chords: Chords) -> None:
    assert outcomes(alone(ends.s("replace-failing"))) == [("failed", 1, "ValueError")]


def test_a_member_may_tell_of_its_progress(chords: Chords) -> None:
    assert alone(ends.s("update")) == "updated"


# Retries ------------------------------------------------------------------------------------------------


def test_what_asks_to_be_tried_again_is_tried_by_the_ledger(chords: Chords) -> None:
    """No message with a countdown lies in a worker's memory meanwhile."""
    word = chords.word()
    result = chord([retried.s(word, 2, countdown=1)], deadline=20)(gather.s())
    until(lambda: chords.noted(word), "it was tried")
    until(lambda: outcomes(result)[0][0] == "retrying", "it waits")
    assert not any(chords.app.control.inspect(timeout=0.3).scheduled().values())
    assert result.get(timeout=20) == [[2, 2]]
    (_, first), (one, second), (two, third) = chords.noted(word)
    assert (one, two, outcomes(result)) == (1, 2, [("ok", 3, "")])
    assert min(second - first, third - second) >= 1


def test_an_eta_of_its_own(chords: Chords) -> None:
    word = chords.word()
    assert alone(retried.s(word, 1, eta_s=1)) == [1, 1]
    (_, first), (_, second) = chords.noted(word)
    assert second - first >= 1


@pytest.mark.parametrize(("with_exc", "error"), [(True, "KeyError"), (False, "MaxRetriesExceededError")])
def test_when_it_has_been_tried_often_enough(chords: Chords, with_exc: bool, error: str) -> None:
    word = chords.word()
    assert outcomes(alone(chord_app.gives_up.s(word, with_exc))) == [("failed", 3, error)]
    assert len(chords.noted(word)) == 3


@pytest.mark.parametrize(
    ("how", "notes"),
    [
        ("args", [[0, "weekly"], [1, "weekly"], [2, "weekly"], [3, "weekly"]]),
        ("kwargs", [[0, "weekly"], [3, "daily"]]),
    ],
)
def test_it_may_ask_with_other_arguments(chords: Chords, how: str, notes: list[Any]) -> None:
    """Positional ones replace the positional, named ones all that are named: as in Celery."""
    word = chords.word()
    assert alone(chord_app.changing.s(word, report="weekly", how=how))[0] == 3
    assert chords.noted(word) == notes


def test_what_it_can_not_be_called_with_fails_it(chords: Chords) -> None:
    word = chords.word()
    assert outcomes(alone(chord_app.changing.s(word, how="wrong"))) == [("failed", 1, "TypeError")]


def test_a_callback_may_ask_too_with_other_arguments_and_other_data(chords: Chords) -> None:
    word = chords.word()
    result = chord([chord_app.echo.s(1)], deadline=5, finish=20)(chord_app.gather_again.s(word))
    assert result.get(timeout=30) == [[1, "added"], 7]
    assert chords.noted(word) == [[[1], 1, 0], [[1], 1, 7], [[1, "added"], 1, 7]]


def test_autoretry(chords: Chords) -> None:
    word = chords.word()
    assert alone(chord_app.auto.s(word, 2)) == 3
    assert outcomes(alone(chord_app.auto.s(chords.word(), 9))) == [("failed", 4, "ConnectionError")]


# When it is due, and until when -------------------------------------------------------------------------


HEAVY = pytest.mark.heavy


@pytest.mark.parametrize("naive", [True, pytest.param(False, marks=HEAVY), pytest.param(None, marks=HEAVY)])
def test_a_member_with_a_time_of_its_own(chords: Chords, naive: bool | None) -> None:
    when = datetime.now(UTC) + timedelta(seconds=1.5)
    later = {"countdown": 1.5} if naive is None else {"eta": when.replace(tzinfo=None) if naive else when}
    word = chords.word()
    before = datetime.now(UTC).timestamp()
    result = chord([retried.s(word, 0).set(**later), add.s(1, 2)], deadline=20)(gather.s())
    until(lambda: outcomes(result)[1][0] == "ok", "the other is done")
    assert outcomes(result)[0] == ("queued", 0, "")
    assert not any(chords.app.control.inspect(timeout=0.2).scheduled().values())
    assert result.get(timeout=20) == [[0, 0], 3]
    ((_, at),) = chords.noted(word)
    assert at - before >= 1.4


def test_a_member_that_expires(chords: Chords) -> None:
    result = chord([add.s(1, 2).set(expires=0.5, countdown=5), add.s(1, 2)], deadline=20)(gather.s())
    assert result.get(timeout=20) == [3]
    assert outcomes(result) == [("timed_out", 0, "Timeout"), ("ok", 1, "")]
    assert "expired" in result.report().outcomes["add[0]"].error.message


# Chains -------------------------------------------------------------------------------------------------


def test_a_member_may_be_a_chain(chords: Chords) -> None:
    header = [add.s(1, 2) | add.s(3) | add.s(4), add.s(1, 1) | chord_app.echo.si("own"), fail.s() | add.s(1)]
    result = chord(header, deadline=20)(gather.s())
    assert result.get(timeout=20) == [10, "own"]
    assert outcomes(result) == [("ok", 3, ""), ("ok", 2, ""), ("failed", 1, "ValueError")]
    assert list(result.report().outcomes) == ["add[0]", "add[1]", "fail"]


def test_a_later_step_that_fails_fails_its_run(chords: Chords) -> None:
    word = chords.word()
    failing = chain(add.s(1, 2), fail.si("the second", word), add.si(1, 1))
    assert outcomes(alone(failing)) == [("failed", 2, "ValueError")]
    assert len(chords.noted(word)) == 1


def test_what_is_said_of_a_chain(chords: Chords) -> None:
    special = f"{chords.app.conf.task_default_queue}.special"
    link, error, bad = chords.word(), chords.word(), chords.word()
    good = (introspect.s() | introspect.s()).set(queue=special)
    good.link(chord_app.linked.s(link))
    failing = add.s(1, 2) | fail.si()
    failing.link_error(chord_app.on_error_by_id.s(error))
    failing.link(chord_app.linked.s(bad))
    ((last,),) = [chord([good, failing], deadline=20)(gather.s()).get(timeout=20)]
    assert (last["args"][0]["queue"], last["queue"]) == (special, chords.app.conf.task_default_queue)
    until(lambda: chords.noted(link) and chords.noted(error), "the links are called")
    assert chords.noted(link)[0]["id"] == last["id"]
    assert (len(chords.noted(link)), len(chords.noted(error)), chords.noted(bad)) == (1, 1, [])


def test_a_step_may_ask_to_be_tried_again(chords: Chords) -> None:
    word = chords.word()
    assert alone(add.si(1, 2) | retried.si(word, 1) | chord_app.echo.s()) == [1, 1]
    assert [retries for retries, _ in chords.noted(word)] == [0, 1]


# Revoked ------------------------------------------------------------------------------------------------


def test_a_member_that_is_revoked_while_it_waits(chords: Chords) -> None:
    if chords.pool == "threads":
        pytest.skip("Celery's threads pool runs what it has been given, also if that is revoked since")
    word = chords.word()
    blocked = [chord_app.gated.s(word) for _ in range(4)]
    result = chord([*blocked, add.s(1, 2)], deadline=20)(gather.s())
    until(lambda: len(chords.noted(f"{word}-waits")) == 4, "the worker is full")
    chords.app.control.revoke(f"{result.request_id}-4-1.1")
    until(lambda: "revoked" in chords.logs(), "the worker has heard of it")
    chords.write(word)
    assert result.get(timeout=20) == [word] * 4
    assert outcomes(result)[4] == ("cancelled", 0, "Revoked")


def test_a_member_that_is_revoked_while_it_runs(chords: Chords) -> None:
    word = chords.word()
    result = chord([chord_app.gated.s(word), add.s(1, 2)], deadline=20)(gather.s())
    until(lambda: chords.noted(f"{word}-waits"), "it runs")
    chords.app.control.revoke(f"{result.request_id}-0-1.1", terminate=True)
    assert result.get(timeout=10) == [3]
    assert outcomes(result)[0] == ("cancelled", 1, "Revoked")
    chords.write(word)
