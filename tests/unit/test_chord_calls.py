"""What a chord asks of signatures and tasks before it is sent, without servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, Task

from celery_collectors.calls import decode_call, encode_call, says_acks_early, seconds_until
from celery_collectors.model import Policy
from celery_collectors.plan import Plan

NOW = datetime(2020, 1, 1, tzinfo=UTC)


def app(**conf: Any) -> Celery:
    return Celery("calls", set_as_current=False, changes=conf)


class Early(Task):
    abstract = True
    acks_late = False


class Late(Task):
    abstract = True
    acks_late = True


class Silent(Task):
    abstract = True


class EarlyByClass(Task):
    name = "t.by_class"
    acks_late = False

    def run(self) -> None:
        """Nothing."""


class SilentByClass(Task):
    name = "t.silent_by_class"

    def run(self) -> None:
        """Nothing."""


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(
    ("options", "early"),
    [
        ({}, False),
        ({"acks_late": False}, True),
        ({"acks_late": True}, False),
        ({"base": Early}, True),
        ({"base": Late}, False),
        ({"base": Silent}, False),
        ({"base": Early, "acks_late": True}, False),
        ({"base": Late, "acks_late": False}, True),
    ],
)
def test_only_what_a_task_says_itself_counts(options: dict[str, Any], early: bool, late: bool) -> None:
    celery_app = app(task_acks_late=late)

    @celery_app.task(name="t.task", shared=False, **options)
    def task() -> None:
        """Nothing."""

    assert says_acks_early(celery_app.tasks["t.task"]) is early


@pytest.mark.parametrize(("cls", "early"), [(EarlyByClass, True), (SilentByClass, False)])
def test_a_task_that_is_a_class(cls: Any, early: bool) -> None:
    assert says_acks_early(app().register_task(cls())) is early


@pytest.mark.parametrize(
    ("when", "seconds"),
    [
        (5, 5.0),
        (0.5, 0.5),
        (timedelta(minutes=1), 60.0),
        (NOW + timedelta(seconds=3), 3.0),
        ((NOW + timedelta(seconds=3)).replace(tzinfo=None), 3.0),
        ("2020-01-01T00:00:07+00:00", 7.0),
        (NOW - timedelta(seconds=3), -3.0),
    ],
)
def test_how_long_until(when: Any, seconds: float) -> None:
    assert seconds_until(when, NOW) == seconds


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml"])
def test_a_call_comes_back_without_the_ledgers_part(serializer: str) -> None:
    if serializer == "yaml":
        pytest.importorskip("yaml")
    celery_app = app(task_serializer=serializer, accept_content=[serializer])
    signature = celery_app.signature("t.task", args=(1, "é\x00"), kwargs={"a": [None]}, immutable=True)
    signature.set(countdown=5, eta=NOW, expires=9, task_id="mine", priority=3, queue="q", time_limit=7)
    (found,) = decode_call(celery_app, encode_call(celery_app, [signature]))
    assert (found.task, list(found.args), found.kwargs, found.immutable) == (
        "t.task",
        [1, "é\x00"],
        {"a": [None]},
        True,
    )
    assert found.options == {"priority": 3, "queue": "q", "time_limit": 7}


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_an_id_can_be_replaced_in_a_stored_call(serializer: str) -> None:
    """A task that is delivered again makes up another id; its members get the one that counts."""
    celery_app = app(task_serializer=serializer, accept_content=[serializer])
    first, second = "0" * 8 + "-1111-4111-8111-" + "2" * 12, "3" * 8 + "-4444-4444-8444-" + "5" * 12
    text = encode_call(celery_app, [celery_app.signature("t.task", args=(first,))])
    plan = Plan(topic="t", runs=(), stages=(), policy=Policy(), calls={"0": text}, result_id=first)
    (found,) = decode_call(celery_app, plan.named(first, second).calls["0"])
    assert (list(found.args), plan.named(first, second).result_id) == ([second], second)
