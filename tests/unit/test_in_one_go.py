"""Stages one after another in memory, without a server: which of them have ended, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celery_collectors.errors import Stopped, TimedOut
from celery_collectors.ledger import Grant
from celery_collectors.ledger.records import Then
from celery_collectors.registry import Registry, Stage
from celery_collectors.worker.attempt import Attempt, answered, failed
from celery_collectors.worker.in_one_go import Data, InOneGo
from tests.unit.test_pack import Process, outside

GRANT = Grant(
    go=True, request_id="r", ref="gathering", name="join", topic="t", generation=1, attempt=1, finish_in_ms=60_000,
    then=(Then(ref="cleanup", name="merge"), Then(ref="process", name="total")),
)  # fmt: skip


def join(results: Iterator[int]) -> Iterator[int]:
    yield from results


def merge(items: Iterator[int]) -> Iterator[int]:
    yield from (item + 1 for item in items)


def total(items: Iterator[int]) -> int:
    return sum(items)


def breaks(items: Iterator[int]) -> Iterator[int]:
    yield from items
    raise ValueError("can not do the cleanup")


def in_one_go(cleanup: Callable[..., Any] = merge) -> InOneGo:
    process: Any = Process()
    process.registry = Registry()
    for ref, function in (("gathering", join), ("cleanup", cleanup), ("process", total)):
        process.registry.add_stage(Stage(ref=ref, function=function, task=None))
    return InOneGo(process, GRANT, Data(iter([1, 2]), ((), {})), outside)


def ends(several: InOneGo, last: Attempt) -> list[tuple[str, str]]:
    return [(grant.ref, attempt.state) for grant, attempt in several.conclude(last)]


ALL = [("gathering", "ok"), ("cleanup", "ok"), ("process", "ok")]
IN_TIME = answered(Attempt(state="ok").value, 0.1)


def test_each_gets_what_the_one_before_it_made() -> None:
    several = in_one_go()
    assert list(several.produce()) == []
    assert ends(several, IN_TIME) == ALL
    assert [attempt.value.items for _, attempt in several.conclude(IN_TIME)] == [2, 2, 1]


def test_an_error_is_that_of_the_stage_that_was_under_way() -> None:
    several = in_one_go(breaks)
    with pytest.raises(ValueError, match="cleanup") as raised:
        list(several.produce())
    assert ends(several, failed(raised.value, 0.1)) == [("gathering", "ok"), ("cleanup", "failed")]


@pytest.mark.parametrize("error", [TimedOut("late"), Stopped("cancelled")], ids=["late", "cancelled"])
def test_what_ends_in_the_moment_in_which_it_was_given_up_has_ended(error: Exception) -> None:
    """Nobody was under way any more whose error it could be."""
    several = in_one_go()
    list(several.produce())
    assert ends(several, failed(error, 0.1)) == ALL
