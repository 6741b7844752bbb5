"""The timeline and the grid: what stands where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("jinja2")

from celery_collectors.events import Event
from celery_collectors.ledger.finding import Summary
from celery_collectors.model import Outcome, Report, RequestState, RunState, at
from celery_collectors.web.generations import past
from celery_collectors.web.grid import COLUMNS, spread
from celery_collectors.web.timeline import Bar, draw


def happened(subject: str, name: str, state: str, at_ms: int, generation: int = 1) -> Event:
    return Event(request_id="1", subject=subject, name=name, state=state, at_ms=at_ms, generation=generation)


def report(state: str, outcomes: dict[str, str], stages: dict[str, str] | None = None, generation: int = 1) -> Report:
    return Report(
        request_id="1",
        topic="t",
        state=RequestState(state),
        generation=generation,
        created_at=at(0),
        deadline_at=at(2000),
        outcomes={name: Outcome(state=RunState(one)) for name, one in outcomes.items()},
        stages={name: Outcome(state=RunState(one)) for name, one in (stages or {}).items()},
    )


OPENED = happened("request", "t", "collecting", 0)


def test_what_runs_reaches_to_now_on_a_scale_that_reaches_to_the_deadline() -> None:
    found = draw(report("collecting", {"a": "running"}), [OPENED, happened("run", "a", "running", 500)], 1000)
    assert found.rows[0].bars == (Bar("queued", 0, 250), Bar("running", 250, 250))
    assert (found.now_x, found.deadline_x, found.whole_s) == (500, 1000, 2)


def test_a_failed_attempt_is_followed_by_a_gap_and_another() -> None:
    steps = [("running", 0), ("retrying", 200), ("queued", 600), ("running", 800), ("ok", 1000)]
    events = [OPENED, *(happened("run", "a", state, at_ms) for state, at_ms in steps)]
    found = draw(report("complete", {"a": "ok"}), events, 9000)
    assert [(bar.state, bar.x) for bar in found.rows[0].bars] == [
        ("failed", 0), ("retrying", 200), ("queued", 600), ("ok", 800),
    ]  # fmt: skip
    assert (found.now_x, found.deadline_x) == (None, None)


def test_a_stage_is_found_although_its_events_have_its_functions_name() -> None:
    events = [OPENED, happened("stage", "merge", "running", 500), happened("stage", "merge", "ok", 1000)]
    found = draw(report("complete", {}, {"cleanup": "ok", "process": "queued"}), events, 9000)
    assert [(row.name, row.bars) for row in found.rows] == [("cleanup", (Bar("ok", 500, 500),)), ("process", ())]


def test_a_stage_is_queued_from_when_the_request_came_to_it() -> None:
    events = [
        OPENED,
        happened("request", "t", "cleaning", 200),
        happened("stage", "merge", "running", 500),
        happened("stage", "merge", "ok", 600),
        happened("request", "t", "processing", 600),
    ]
    stages = {"cleanup": "ok", "process": "queued"}
    found = draw(report("processing", {}, stages), events, 1000)
    assert [row.bars for row in found.rows] == [
        (Bar("queued", 100, 150), Bar("ok", 250, 50)),
        (Bar("queued", 300, 200),),
    ]


def test_only_the_present_generation_is_drawn() -> None:
    events = [OPENED, happened("run", "a", "running", 5), happened("request", "t", "collecting", 5000, 2)]
    found = draw(report("collecting", {"a": "queued"}, generation=2), events, 6000)
    assert [bar.state for bar in found.rows[0].bars] == ["queued"]


def test_what_is_kept_from_an_earlier_generation_has_no_bars() -> None:
    events = [OPENED, happened("run", "a", "ok", 5), happened("request", "t", "collecting", 5000, 2)]
    found = draw(report("collecting", {"a": "ok"}, generation=2), events, 6000)
    assert (found.rows[0].bars, found.rows[0].said) == ((), "a: kept; ok")


RETRIED = [
    OPENED,
    happened("run", "a", "running", 500),
    happened("run", "b", "ok", 600),
    happened("run", "a", "failed", 1000),
    happened("stage", "merge", "running", 1100),
    happened("stage", "merge", "ok", 1500),
    happened("request", "t", "partial", 2000),
    happened("request", "t", "collecting", 9000, 2),
    happened("run", "a", "queued", 9000, 2),
    happened("run", "a", "failed", 9500, 2),
    happened("request", "t", "failed", 9600, 2),
    happened("request", "t", "collecting", 20000, 3),
]


def test_an_earlier_generation_is_put_together_from_its_events() -> None:
    now = report("collecting", {"a": "queued", "b": "ok", "c": "queued"}, generation=3)
    first, second = past(now, RETRIED, 1), past(now, RETRIED, 2)
    assert first is not None
    assert second is not None
    assert (first.report.state, first.is_whole, first.report.finished_at) == ("partial", True, at(2000))
    assert {name: one.state for name, one in first.report.outcomes.items()} == {"a": "failed", "b": "ok", "c": "queued"}
    assert {name: one.state for name, one in second.report.outcomes.items()} == {
        "a": "failed", "b": "ok", "c": "queued",
    }  # fmt: skip
    assert (list(first.report.stages), list(second.report.stages)) == (["merge"], [])
    drawn = draw(first.report, RETRIED, 30_000)
    assert drawn.rows[0].bars == (Bar("queued", 0, 250), Bar("failed", 250, 250))
    assert drawn.rows[3].bars == (Bar("ok", 550, 200),)
    assert (drawn.now_x, drawn.deadline_x, drawn.whole_s) == (None, None, 2)


def test_of_a_generation_whose_events_are_gone_nothing_is_told() -> None:
    now = report("collecting", {"a": "queued"}, generation=3)
    assert past(now, RETRIED[7:], 1) is None
    assert past(now, RETRIED, 3) is None  # it is no earlier one
    assert past(now, RETRIED, 4) is None
    half = past(now, RETRIED[3:], 1)
    assert half is not None
    assert not half.is_whole


def test_the_grid_has_the_oldest_first() -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)

    def line(topic: str, hours: int) -> Summary:
        return Summary(
            request_id=str(hours), topic=topic, state=RequestState.COMPLETE, created_at=noon + timedelta(hours=hours),
            finished_at=None, runs=1, open=0, missing=0,
        )  # fmt: skip

    grid = spread([line("a", 12), line("b", 6), line("a", 0)])
    assert grid is not None
    assert [len(cell) for cell in grid.rows["a"]] == [1, *[0] * (COLUMNS - 2), 1]
    assert len(grid.rows["b"][COLUMNS // 2]) == 1
    assert spread([]) is None
