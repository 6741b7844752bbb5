"""The page as a client without any browser has it: what must not go wrong however it is asked."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import httpx
import pytest

from celery_collectors import Collectors
from celery_collectors.errors import PayloadError
from celery_collectors.handle import Request
from celery_collectors.web.face import Limits
from celery_collectors.web.heard import Heard
from celery_collectors.web.look import Look
from tests.web.conftest import Served
from tests.web.test_requests import ask

pytestmark = pytest.mark.usefixtures("worker")


@pytest.mark.parametrize("query", ["?state=odd&since=never&cursor=x", "?topic=%5B", "?since=2026-01-02T03:04"])
def test_a_filter_that_is_not_understood_filters_nothing(client: httpx.Client, query: str) -> None:
    assert client.get(f"/{query}").status_code == client.get(f"/list{query}").status_code == 200


def test_a_filter_that_is_not_understood_is_named(client: httpx.Client) -> None:
    assert "not understood, and so left out: state=odd, since=never" in client.get("/?state=odd&since=never").text
    assert "not understood" not in client.get("/?state=partial&since=2026-01-02").text


def test_what_is_longer_than_any_topic_is_not_looked_for(client: httpx.Client) -> None:
    assert "not understood, and so left out: topic=[[[" in client.get("/", params={"topic": "[" * 513}).text
    assert "not understood" not in client.get("/", params={"topic": "[" * 512}).text


def test_a_generation_of_which_nothing_is_kept_is_said(client: httpx.Client) -> None:
    request_id = ask(client, "python")["request_id"]
    answer = client.get(f"/requests/{request_id}?generation=77")
    assert answer.status_code == 404
    assert "nothing is kept of generation 77" in answer.text
    assert client.get(f"/requests/{request_id}?generation=1").status_code == 200


def test_items_that_are_gone_take_no_page_with_them(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = ask(client, "python")["request_id"]

    def gone(self: Request, *, most: int) -> Any:
        raise PayloadError("its items are gone")

    monkeypatch.setattr(Request, "first_items", gone)
    for path in (f"/requests/{request_id}", f"/requests/{request_id}/part"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "The items can&#39;t be read: its items are gone" in answer.text


def test_times_are_the_ledgers_whatever_this_machine_thinks(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = client.post("/ask", data={"topic": "gated", "deadline_s": "50"}).headers["location"]
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    for path in (request_id, f"{request_id}/part", "/workers"):
        assert "60 min" not in client.get(path).text
    assert 'class="mark now" x1="1000' not in client.get(request_id).text


def test_a_look_reads_only_what_is_new(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = ask(client, "python")["request_id"]
    first = client.get(f"/requests/{request_id}").text
    asked = list[str]()
    happened = Request.happened

    def noted(self: Request, after: str = "0") -> Any:
        asked.append(after)
        return happened(self, after)

    monkeypatch.setattr(Request, "happened", noted)
    assert client.get(f"/requests/{request_id}").text == first
    assert len(asked) == 1
    assert asked != ["0"]


def test_a_page_is_drawn_where_nobody_else_waits_for_it(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = ask(client, "python")["request_id"]
    drawn, draw = dict[str, bool](), Look.page

    def noted(self: Look, template: str, *args: Any, **values: Any) -> Any:
        drawn[template] = asyncio._get_running_loop() is None
        return draw(self, template, *args, **values)

    monkeypatch.setattr(Look, "page", noted)
    for path in ("", "/part", "/rows/0", "/over-time"):
        assert client.get(f"/requests/{request_id}{path}").status_code == 200
    assert drawn == dict.fromkeys(("one.html", "part.html", "row_page.html", "trends_page.html"), True)


def test_only_so_many_events_are_kept(project: Collectors) -> None:
    requests = [project.request("python") for _ in range(3)]
    reports = [request.wait() for request in requests]
    heard = Heard(most=2 * len(Heard().of(requests[0], reports[0])))
    found = [heard.of(request, report) for request, report in zip(requests, reports, strict=True)]
    assert [events[-1].state for events in found] == ["complete"] * 3
    assert len(heard) == 2 * len(found[0])
    assert heard.of(requests[0], reports[0]) == found[0]


def test_the_table_says_which_attempt_of_how_many(client: httpx.Client) -> None:
    request_id = ask(client, "permanent", deadline_s=25)["request_id"]
    page = client.get(f"/requests/{request_id}/part").text
    cells = re.findall(r'data-label="Attempts" class="number">([^<]*)<', page)
    assert cells[:2] == ["1 of 1", "1 of 4"]


def test_a_form_that_is_no_text_is_no_question(client: httpx.Client) -> None:
    answer = client.post("/ask", content=b"topic=%ff%00&deadline_s=\xff")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "text/html; charset=utf-8")
    assert 'role="alert"' in answer.text


def test_a_form_is_told_when_there_is_no_room(project: Collectors) -> None:
    server = Served(project, limits=Limits(open_requests=1))
    with httpx.Client(base_url=server.url, timeout=30) as client:
        first, second = (client.post("/ask", data={"topic": "gated"}) for _ in range(2))
        assert (first.status_code, second.status_code) == (303, 429)
        assert int(second.headers["Retry-After"]) > 0
        assert "(1) have not ended; try again in a moment" in second.text
    server.stop()


def test_a_deadline_that_is_none_is_refused(client: httpx.Client) -> None:
    assert client.post("/ask", data={"topic": "python", "deadline_s": "nan"}).status_code == 422
    answer = client.post("/ask", data={"topic": "python", "deadline_s": "soon"})
    assert answer.status_code == 422
    assert "the deadline is a number of seconds, as in 30 or 2.5, not &#39;soon&#39;" in answer.text


def test_a_reason_is_no_longer_than_over_the_api(client: httpx.Client) -> None:
    path = client.post("/ask", data={"topic": "gated"}).headers["location"]
    client.post(f"{path}/cancel", data={"reason": "r" * 60_000})
    assert client.get(f"/v1{path}").json()["error"]["message"] == f"cancelled: {'r' * 500}"


def test_another_sites_form_does_nothing(client: httpx.Client) -> None:
    for path in ("/ask", "/many", f"/requests/{ask(client, 'python')['request_id']}/cancel"):
        assert client.post(path, data={"topic": "python"}, headers={"Origin": "https://evil"}).status_code == 403


def test_a_downloads_name_is_ours(client: httpx.Client) -> None:
    request_id = ask(client, "python")["request_id"]
    answer = client.get(f"/requests/{request_id}/download", params={"as": 'x"\r\nX-Odd: 1'})
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{request_id}.json"'


def test_what_a_ticked_request_refuses_is_said(client: httpx.Client) -> None:
    request_id = ask(client, "python")["request_id"]
    answer = client.post("/many", data={"action": "retry", "request_id": [request_id, "no-uuid"]})
    assert answer.status_code == 409
    assert "complete" in answer.text
    assert "a request_id is a UUID" in answer.text
    assert client.post("/many", data={"action": "explode", "request_id": request_id}).status_code == 409
    assert "nothing is ticked" in client.post("/many", data={"action": "cancel"}).text


def test_whoever_acts_on_what_is_ticked_comes_back_to_the_same_list(client: httpx.Client) -> None:
    request_id = ask(client, "python")["request_id"]
    asked = 'action="/many?topic=pyth"'
    assert asked in client.get("/?topic=pyth").text
    answer = client.post("/many?topic=pyth", data={"action": "retry", "request_id": request_id})
    assert asked in answer.text


def test_an_action_that_is_not_there_is_refused(client: httpx.Client) -> None:
    request_id = ask(client, "python")["request_id"]
    assert client.post(f"/requests/{request_id}/explode").status_code == 404
