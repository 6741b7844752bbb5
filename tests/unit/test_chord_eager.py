"""``chord`` under ``task_always_eager``: the same rules in this process, without servers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from celery import Celery, group
from celery.exceptions import Ignore

from celery_collectors import ChordFailed, Collectors, chord


class Project:
    """An eager app, and what its tasks noted."""

    def __init__(self) -> None:
        self.noted: list[Any] = []
        self.app = Celery("eager", task_always_eager=True, set_as_current=False)
        self.collectors = Collectors(self.app)
        task = partial(self.app.task, shared=False)  # else the next test's app gets these, too

        @task(name="t.echo")
        def echo(value: Any) -> Any:
            return value

        @task(name="t.gather")
        def gather(values: list[Any]) -> list[Any]:
            return values

        @task(name="t.fail")
        def fail() -> None:
            raise ValueError("no such feed")

        @task(name="t.retried", bind=True, default_retry_delay=0)
        def retried(self: Any, times: int) -> int:
            if self.request.retries < times:
                raise self.retry()
            return int(self.request.retries)

        @task(name="t.ends")
        def ends() -> None:
            raise Ignore

        @task(name="t.reporting")
        def reporting(values: list[Any], report: Any) -> Any:
            return [values, {name: str(one.state) for name, one in report.outcomes.items()}]

        @task(name="t.linked")
        def linked(value: Any) -> None:
            self.noted.append(value)

        @task(name="t.on_error")
        def on_error(request: Any, exc: BaseException, traceback: Any) -> None:
            self.noted.append(str(exc))

        self.echo, self.gather, self.fail, self.retried, self.ends = echo, gather, fail, retried, ends
        self.reporting, self.linked, self.on_error = reporting, linked, on_error


@pytest.fixture
def project() -> Project:
    return Project()


def test_the_callback_gets_what_succeeded(project: Project) -> None:
    result = chord(group(project.echo.s(1), project.fail.s(), project.echo.s(3)))(project.gather.s())
    assert (result.get(), result.state, result.ready(), result.result) == ([1, 3], "SUCCESS", True, [1, 3])
    report = result.report()
    assert (report.state, report.request_id, list(report.outcomes)) == (
        "partial", result.request_id, ["echo[0]", "fail", "echo[2]"]
    )  # fmt: skip
    assert report.outcomes["fail"].error.message == "no such feed"
    result.forget()


def test_missing_and_report(project: Project) -> None:
    result = chord([project.fail.s(), project.echo.s(1)], missing=-1)(project.reporting.s())
    assert result.get() == [[-1, 1], {"fail": "failed", "echo": "ok"}]


def test_chains_and_retries(project: Project) -> None:
    header = [project.echo.s(1) | project.echo.s() | project.echo.si("own"), project.retried.s(2)]
    assert chord(header)(project.gather.s()).get() == ["own", 2]
    assert chord([project.fail.s() | project.echo.s(), project.echo.s(1)])(project.gather.s()).get() == [1]


def test_links_of_a_success(project: Project) -> None:
    result = chord([project.echo.s(1)])(project.gather.s(), link=project.linked.s(), link_error=project.on_error.s())
    assert (result.get(), project.noted) == ([1], [[1]])


@pytest.mark.parametrize("policy", [{"min_ok": 2}, {"required": "fail"}])
def test_a_policy_that_is_not_met(project: Project, policy: dict[str, Any]) -> None:
    header = [project.echo.s(1), project.fail.s()]
    result = chord(header, **policy)(project.gather.s(), link=project.linked.s(), link_error=project.on_error.s())
    with pytest.raises(ChordFailed):
        result.get()
    assert (result.state, result.report().state, len(project.noted)) == ("FAILURE", "failed", 1)


def test_a_callback_that_fails(project: Project) -> None:
    result = chord([project.echo.s(1)])(project.fail.si(), link_error=project.on_error.s())
    with pytest.raises(ValueError, match="no such feed"):
        result.get()
    assert (result.report().error.message, project.noted) == ("no such feed", ["no such feed"])


def test_a_member_that_ends_otherwise_has_failed(project: Project) -> None:
    assert chord([project.ends.s(), project.echo.s(1)])(project.gather.s()).get() == [1]


def test_an_empty_one(project: Project) -> None:
    result = chord([])(project.gather.s())
    assert (result.get(), result.report().state) == ([], "complete")
    outcome = chord([project.echo.s([])])(project.gather.s()).report().outcomes["echo"]
    assert (outcome.state, outcome.items) == ("empty", 0)


def test_what_is_refused_elsewhere_is_refused_here(project: Project) -> None:
    with pytest.raises(TypeError):
        chord([project.echo.s(1, 2)])(project.gather.s())
    with pytest.raises(TypeError):
        chord([chord([project.echo.s(1)], project.gather.s())])(project.gather.s())
    assert project.noted == []


def test_declared_ones(project: Project) -> None:
    collectors = project.collectors

    @collectors.collector
    def generating(topic: str) -> Iterator[str]:
        yield topic
        yield "dirt"

    @collectors.collector
    async def waiting(topic: str) -> list[str]:
        return [f"{topic}-async"]

    @collectors.gathering
    def join(results: Any, topic: str, more: str = "") -> Iterator[str]:
        yield topic
        yield more
        for items in results:
            yield from items

    @collectors.cleanup
    def clean(items: Any) -> list[str]:
        return [item for item in items if item != "dirt"]

    @collectors.process
    def total(items: Any, report: Any) -> dict[str, Any]:
        return {"items": list(items), "asked": sorted(report.outcomes)}

    header = [generating.s("a"), waiting.s("b")]
    assert chord(header)(project.gather.s()).get() == [["a", "dirt"], ["b-async"]]
    result = chord(header, topic="t")(join.s(more="m"), link=project.linked.s())
    assert result.get() == {"items": ["t", "m", "a", "b-async"], "asked": ["generating", "waiting"]}
    assert project.noted == [result.get()]
