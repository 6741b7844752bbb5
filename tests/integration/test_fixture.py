"""The pytest fixture that users get: a real request in a few lines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from celery_collectors import Collectors
from celery_collectors.testing import _worker as worker_of
from tests.integration.conftest import until

Start = Callable[..., Any]


@pytest.fixture(scope="module")
def news() -> Collectors:
    collectors = Collectors(Celery("news"))

    @collectors.collector
    def arxiv(topic: str) -> list[str]:
        return [f"about {topic}"]

    return collectors


@pytest.mark.parametrize("topic", ["python", "celery"])
def test_a_request_through_a_worker(collectors_worker: Start, news: Collectors, topic: str) -> None:
    collectors_worker(news)
    request = news.request(topic, deadline=10)
    assert request.wait().state == "complete"
    assert list(request.items()) == [f"about {topic}"]
    assert [summary.request_id for summary in news.list().requests] == [request.id]


def test_a_worker_that_has_ended_sweeps_no_more(
    collectors_server: Path, news: Collectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis+socket://{collectors_server}?virtual_host=0")
    before = set(threading.enumerate())
    with worker_of(news, f"unix://{collectors_server}?db=1", {}):
        assert sweepers(before)
    until(lambda: not sweepers(before), "its sweeper has ended", 15)


def sweepers(before: set[threading.Thread]) -> list[threading.Thread]:
    return [one for one in set(threading.enumerate()) - before if one.name == "collectors-sweeper"]


def test_settings_hold_for_the_test_only(collectors_worker: Start, news: Collectors) -> None:
    before = news.settings.deadline_s
    collectors_worker(news, deadline_s=3.0)
    assert news.settings.deadline_s == 3.0
    assert before == 30.0


def test_without_a_worker_nothing_is_left_configured(news: Collectors) -> None:
    assert (news.settings.deadline_s, news.settings.ledger) == (30.0, None)
