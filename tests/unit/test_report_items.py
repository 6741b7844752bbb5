"""A report's items: there where it came from, and no part of the record."""

from __future__ import annotations

import copy
import pickle

import msgspec
import pytest
from celery import Celery

from celery_collectors import Collectors
from celery_collectors.errors import ReportOnly
from celery_collectors.model import Report, RequestState


def test_the_way_to_the_items_is_no_part_of_the_record() -> None:
    plain = Report(request_id="r", topic="t", state=RequestState.COMPLETE)
    report = plain.with_items(lambda: iter([1, 2]))
    assert list(report.items()) == list(report.items()) == [1, 2]
    assert (report == plain, repr(report) == repr(plain), report.to_dict() == plain.to_dict()) == (True, True, True)
    assert msgspec.json.encode(report) == msgspec.json.encode(plain)


@pytest.mark.parametrize("copied", [copy.copy, lambda report: pickle.loads(pickle.dumps(report))])
def test_a_copy_says_where_its_items_are(copied: object) -> None:
    report = Report(request_id="r-1", topic="t", state=RequestState.COMPLETE).with_items(lambda: iter([1]))
    assert callable(copied)
    with pytest.raises(ReportOnly, match=r"collectors.get\('r-1'\).items\(\)"):
        copied(report).items()


def local(name: str, **settings: int) -> Collectors:
    collectors = Collectors(Celery(name), **settings)

    @collectors.collector
    def one(topic: str) -> list[str]:
        return [topic, "one"]

    @collectors.collector
    def two(topic: str) -> list[str]:
        return [topic, "two"]

    return collectors


def test_of_a_local_run() -> None:
    collectors = local("as-collected")
    assert sorted(collectors.run_local("x").items()) == ["one", "two", "x", "x"]

    @collectors.cleanup
    def unique(items: object) -> set[str]:
        return set(items)  # type: ignore[call-overload,no-any-return]

    @collectors.process
    def count(items: object) -> int:
        return sum(1 for _ in items)  # type: ignore[attr-defined]

    report = collectors.run_local("x")
    assert (sorted(report.items()), report.result) == (["one", "two", "x"], 3)


def test_of_a_local_run_that_failed() -> None:
    report = local("failed").run_local("x", min_ok=2, only=["one", "two"])
    assert report.state == "complete"
    collectors = local("stage")

    @collectors.process
    def breaks(items: object) -> int:
        raise TypeError("no")

    report = collectors.run_local("x")
    assert (report.state, sorted(report.items())) == ("failed", ["one", "two", "x", "x"])


def test_a_local_run_has_the_caps_of_any_other() -> None:
    report = local("run-cap", run_max_items=1).run_local("x")
    assert {one.error.type for one in report.outcomes.values() if one.error} == {"TooLarge"}
    assert "run_max_items" in report.outcomes["one"].error.message  # type: ignore[union-attr]
    report = local("request-cap", request_max_items=3).run_local("x")
    assert sorted(str(one.state) for one in report.outcomes.values()) == ["failed", "ok"]
    (error,) = (one.error for one in report.outcomes.values() if one.error)
    assert (error.type, error.retryable, "request_max_items" in error.message) == ("TooLarge", False, True)
    assert len(list(report.items())) == 2
