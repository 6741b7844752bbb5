"""How many requests may be open, whoever asks at the same time and however often."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from celery_collectors import Collectors
from celery_collectors.errors import RequestError
from celery_collectors.handle import Request
from celery_collectors.web.open_requests import OpenRequests, TooMany
from tests.integration.conftest import until

WAIT_S = 20


def test_what_is_just_being_asked_has_its_place(project: Collectors) -> None:
    opened, goes_on, is_asked = OpenRequests(project, 1), threading.Event(), threading.Event()

    def slowly(topic: str) -> Request:
        is_asked.set()
        assert goes_on.wait(WAIT_S)
        return project.request(topic)

    with ThreadPoolExecutor() as threads:
        first = threads.submit(opened.ask, slowly, "gated")
        assert is_asked.wait(WAIT_S)
        with pytest.raises(TooMany):
            opened.ask(project.request, "gated")
        goes_on.set()
        assert first.result(WAIT_S).id
    with pytest.raises(TooMany):
        opened.ask(project.request, "gated")


def test_what_could_not_be_asked_leaves_its_place(project: Collectors) -> None:
    opened = OpenRequests(project, 1)
    for _ in range(3):
        with pytest.raises(RequestError):
            opened.ask(project.request, "")
    assert opened.ask(project.request, "gated").id


def test_refusals_do_not_each_look_at_all_that_is_open(project: Collectors, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, looked, get = OpenRequests(project, 3), list[str](), Collectors.get
    asked = {opened.ask(project.request, "gated").id for _ in range(3)}

    def counted(self: Collectors, request_id: str) -> Request:
        looked.append(request_id)
        return get(self, request_id)

    monkeypatch.setattr(Collectors, "get", counted)
    monkeypatch.setattr("celery_collectors.web.open_requests.LOOK_AGAIN_S", 600.0)
    for _ in range(50):
        with pytest.raises(TooMany):
            opened.ask(project.request, "gated")
    assert (set(looked), len(looked)) == (asked, 3)


def test_nobody_waits_for_who_looks(project: Collectors, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, get = OpenRequests(project, 2), Collectors.get
    is_looked, is_asked, look_on, ask_on = (threading.Event() for _ in range(4))
    opened.ask(project.request, "gated").cancel()

    def slow_look(self: Collectors, request_id: str) -> Request:
        is_looked.set()
        assert look_on.wait(WAIT_S)
        return get(self, request_id)

    def slow_ask(*args: Any) -> Request:
        is_asked.set()
        assert ask_on.wait(WAIT_S)
        return project.request(*args)

    monkeypatch.setattr(Collectors, "get", slow_look)
    with ThreadPoolExecutor() as threads:
        second = threads.submit(opened.ask, slow_ask, "gated")
        assert is_asked.wait(WAIT_S)
        third = threads.submit(opened.ask, project.request, "gated")
        try:
            assert is_looked.wait(WAIT_S)
            with pytest.raises(TooMany):
                opened.ask(project.request, "gated")
            ask_on.set()
            until(second.done, "what was being asked is counted while somebody looks")
        finally:
            ask_on.set()
            look_on.set()
        assert third.result(WAIT_S).id, "the look found one that has ended"


def test_what_is_opened_again_while_somebody_looks_is_counted(
    project: Collectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks saw that it had ended, and tells so after it was tried again."""
    opened, is_open = OpenRequests(project, 2), OpenRequests._is_open
    ended = opened.ask(project.request, "gated", deadline=1)
    ended.wait(WAIT_S)
    is_looked, look_on, is_retried, retry_on = (threading.Event() for _ in range(4))

    def slow_retry() -> None:
        is_retried.set()
        assert retry_on.wait(WAIT_S)
        ended.retry(deadline=60)

    def slow_look(self: OpenRequests, request_id: str) -> bool:
        seen = is_open(self, request_id)
        is_looked.set()
        assert look_on.wait(WAIT_S)
        return seen

    with ThreadPoolExecutor() as threads:
        again = threads.submit(opened.again, ended, slow_retry)
        assert is_retried.wait(WAIT_S)
        monkeypatch.setattr(OpenRequests, "_is_open", slow_look)
        third = threads.submit(opened.ask, project.request, "gated")
        try:
            assert is_looked.wait(WAIT_S)
            retry_on.set()
            again.result(WAIT_S)
        finally:
            retry_on.set()
            look_on.set()
        with pytest.raises(TooMany):
            third.result(WAIT_S)
            opened.ask(project.request, "gated")
