"""Which messages are ours, and what makes two chords of one task the same question."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from celery import Celery

from celery_collectors import Collectors
from celery_collectors.canvas.members import callback_of, members_of
from celery_collectors.canvas.planning import NOT_GIVEN, ChordPlanner
from celery_collectors.canvas.sending import _question
from celery_collectors.dispatch import order_of
from celery_collectors.model import Policy

NAMED = {"request_id": "r", "ref": "0", "generation": 1, "delivery": 2}


def test_a_message_of_ours_names_its_own_id() -> None:
    assert order_of(NAMED, "r-0-1.2") == NAMED


@pytest.mark.parametrize(
    ("header", "message_id"),
    [
        pytest.param(None, "r-0-1.2", id="none"),
        pytest.param("x", "r-0-1.2", id="somebody else's header of that name"),
        pytest.param({"request_id": "r"}, "r-0-1.2", id="half of it"),
        pytest.param(NAMED, "another", id="given on to another task"),
        pytest.param(NAMED, None, id="a plain call"),
    ],
)
def test_any_other_message_is_not(header: Any, message_id: str | None) -> None:
    assert order_of(header, message_id) is None


def test_neither_a_made_up_id_nor_the_time_left_makes_another_question() -> None:
    app = Celery("same", set_as_current=False)
    collectors = Collectors(app)

    @app.task(shared=False)
    def host(name: str, request_id: Any) -> str:
        return name

    @app.task(shared=False)
    def join(results: list[str]) -> list[str]:
        return results

    def asked(name: str, deadline_s: float, *, as_object: bool) -> bytes:
        made_up = uuid.uuid4()
        members = members_of([host.s(name, made_up if as_object else str(made_up))])
        planner = ChordPlanner(collectors, members, callback_of(join.s()))
        plan = planner.plan(Policy(), topic=None, missing=NOT_GIVEN, result_id=str(made_up), deadline_s=deadline_s)
        return _question(plan, str(made_up))

    for as_object in (False, True):
        assert asked("a", 30, as_object=as_object) == asked("a", 29.5, as_object=as_object)
        assert asked("a", 30, as_object=as_object) != asked("b", 30, as_object=as_object)
