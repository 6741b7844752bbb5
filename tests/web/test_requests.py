"""Asking over HTTP, and what can be done with what was asked."""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from celery_collectors import Collectors
from celery_collectors.events import Event
from celery_collectors.handle import Request
from celery_collectors.model import Report
from celery_collectors.web.face import Limits
from tests.integration.conftest import until
from tests.web.conftest import Served

pytestmark = pytest.mark.usefixtures("worker")

NOBODYS = "00000000-0000-4000-8000-000000000000"  # the same in every process that shares the tests


def ask(client: httpx.Client, topic: str, wait_s: int = 20, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/requests", json={"topic": topic, **more}, headers={"Prefer": f"wait={wait_s}"})
    assert answer.status_code in (200, 202), answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_question_is_accepted_and_leads_to_its_report(client: httpx.Client, project: Collectors) -> None:
    answer = client.post("/v1/requests", json={"topic": "python", "deadline_s": 20})
    assert answer.status_code == 202
    assert client.get(answer.headers["Location"]).json()["request_id"] == answer.json()["request_id"]
    report = project.get(answer.json()["request_id"]).wait(20)
    assert client.get(answer.headers["Location"]).json() == report.to_dict()


def test_prefer_wait_answers_with_the_end(client: httpx.Client) -> None:
    answer = client.post("/v1/requests", json={"topic": "python"}, headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=20")
    assert answer.json()["state"] == "complete"
    assert answer.json()["result"] == {"items": 1}


def test_prefer_wait_gives_up_when_its_time_is_over(client: httpx.Client) -> None:
    answer = client.post("/v1/requests", json={"topic": "gated"}, headers={"Prefer": "respond-async, wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (202, "collecting")
    shown = client.get(answer.headers["Location"], headers={"Prefer": "wait=1"})
    assert (shown.status_code, shown.json()["state"]) == (200, "collecting")


def test_whoever_waits_reads_neither_what_was_nor_each_time_the_whole(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports, after, report, happened = list[str](), list[str](), Request.report, Request.happened

    def counted(self: Request) -> Report:
        reports.append(self.id)
        return report(self)

    def noted(self: Request, since: str = "0") -> list[Event]:
        after.append(since)
        return happened(self, since)

    monkeypatch.setattr(Request, "report", counted)
    monkeypatch.setattr(Request, "happened", noted)
    ask(client, "gated", wait_s=1)
    assert len(after) > 1
    assert "0" not in after
    assert len(reports) == 1, "the answer"


def test_one_key_and_body_are_one_request(client: httpx.Client) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first, again = (client.post("/v1/requests", json={"topic": "python"}, headers=key) for _ in range(2))
    assert first.status_code == again.status_code == 202
    assert first.json()["request_id"] == again.json()["request_id"]


def test_one_key_with_another_body_is_refused(client: httpx.Client) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    client.post("/v1/requests", json={"topic": "python"}, headers=key)
    other = client.post("/v1/requests", json={"topic": "python", "deadline_s": 9}, headers=key)
    assert (other.status_code, other.json()["error"]) == (422, "IdempotencyError")


def test_a_key_whose_question_is_just_being_asked_conflicts(client: httpx.Client, notes: Path) -> None:
    def asked() -> httpx.Response:
        headers = {"Idempotency-Key": "the-same"}
        return client.post("/v1/requests", json={"topic": "strict:wait"}, headers=headers)

    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(asked()))
    thread.start()
    until((notes / "asked").exists, "the first is being asked")
    second = asked()
    assert (second.status_code, second.headers["Retry-After"]) == (409, "1")
    (notes / "gate").touch()
    thread.join(20)
    assert answers[0].status_code == 202
    assert asked().json()["request_id"] == answers[0].json()["request_id"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"topic": "strict:1"}, 422, "letters must follow"),
        ({"topic": ""}, 422, "body.topic"),
        ({"topic": "x", "colour": "red"}, 422, "body.colour"),
        ({"topic": "x", "min_ok": 99}, 409, "min_ok=99"),
        ({"topic": "x", "only": ["nobody"]}, 409, "nobody"),
    ],
)
def test_a_question_that_cant_be_asked_says_why(
    client: httpx.Client, body: dict[str, Any], status: int, says: str
) -> None:
    answer = client.post("/v1/requests", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/v1/requests/{NOBODYS}", 404),
        ("GET", f"/v1/requests/{NOBODYS}/events", 404),
        ("GET", "/v1/requests/no-uuid", 422),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/collectors", 405),
        ("POST", f"/v1/requests/{NOBODYS}/cancel", 404),
    ],
)
def test_every_error_is_a_problem(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("cursor=%00%ff", "query.cursor: String should match pattern '^[0-9]{1,15}:[0-9a-f-]{36}$'"),
        ("since=x", "query.since: a time is written as 2026-11-28T09:30:00Z"),
        ("limit=201", "query.limit: Input should be less than or equal to 200"),
        (f"topic={'x' * 513}", "query.topic: String should have at most 512 characters"),
        (
            "state=odd&state=odder&state=complete",
            "query.state: Input should be 'collecting', 'gathering', 'cleaning', 'processing', 'complete', "
            "'partial', 'failed' or 'cancelled'",
        ),
    ],
)
def test_a_parameter_that_is_not_understood_is_named_once(client: httpx.Client, query: str, says: str) -> None:
    answer = client.get(f"/v1/requests?{query}")
    assert (answer.status_code, answer.json()["detail"]) == (422, says)
    assert [f"{one['at']}: {one['message']}" for one in answer.json()["errors"]] == [says]


def test_a_header_that_is_not_understood_is_named_once(client: httpx.Client) -> None:
    answer = client.post("/v1/requests", json={"topic": "x"}, headers={"Idempotency-Key": "a b"})
    says = "header.Idempotency-Key: String should match pattern '^[!-~]+$'"
    assert (answer.status_code, answer.json()["detail"]) == (422, says)


def test_a_method_that_is_not_there_names_those_that_are(client: httpx.Client) -> None:
    answer = client.delete("/v1/requests")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_what_runs_is_cancelled_with_a_reason(client: httpx.Client) -> None:
    request_id = ask(client, "gated", wait_s=0)["request_id"]
    answer = client.post(f"/v1/requests/{request_id}/cancel", json={"reason": "asked too much"})
    assert answer.json() == {"request_id": request_id, "state": "cancelled"}
    assert "asked too much" in client.get(f"/v1/requests/{request_id}").json()["error"]["message"]


def test_what_failed_is_tried_again(client: httpx.Client, notes: Path) -> None:
    report = ask(client, "mend")
    assert report["outcomes"]["mends"]["state"] == "failed"
    (notes / "mended").touch()
    path = f"/v1/requests/{report['request_id']}"
    answer = client.post(f"{path}/retry", json={"only": ["mends"]})
    assert (answer.status_code, answer.json()["runs"]) == (202, ["mends"])
    assert client.get(path, headers={"Prefer": "wait=20"}).json()["state"] == "complete"
    assert client.post(f"{path}/retry").status_code == 409


def test_what_waits_is_given_another_level(client: httpx.Client) -> None:
    request_id = ask(client, "gated", wait_s=0)["request_id"]
    answer = client.post(f"/v1/requests/{request_id}/priority", json={"level": "high"})
    assert answer.json() == {"request_id": request_id, "state": "collecting"}
    ended = ask(client, "python")["request_id"]
    assert client.post(f"/v1/requests/{ended}/priority", json={"level": "high"}).status_code == 409


def test_the_list_goes_on_from_its_cursor(client: httpx.Client, empty_ledger: None) -> None:
    asked = [ask(client, f"page {number}", wait_s=0)["request_id"] for number in range(5)]
    seen, cursor = [], None
    while True:
        page = client.get("/v1/requests", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [one["request_id"] for one in page["requests"]]
        if (cursor := page["cursor"]) is None:
            break
    assert sorted(seen) == sorted(asked)
    assert seen[0] == asked[-1]


def test_the_list_is_filtered_by_topic_state_and_time(client: httpx.Client, empty_ledger: None) -> None:
    done = [ask(client, f"fruit {number}") for number in range(3)]
    ask(client, "gated fruit", wait_s=0)

    def found(**wanted: Any) -> list[str]:
        return [one["topic"] for one in client.get("/v1/requests", params=wanted).json()["requests"]]

    assert found(topic="fruit*") == ["fruit 2", "fruit 1", "fruit 0"]
    assert found(state="collecting") == ["gated fruit"]
    assert found(state=["complete", "collecting"], limit=2) == ["gated fruit", "fruit 2"]
    assert found(since=done[1]["created_at"]) == ["gated fruit", "fruit 2", "fruit 1"]
    assert found(until=done[1]["created_at"]) == ["fruit 1", "fruit 0"]


def test_a_result_is_json_or_its_items_one_a_line(client: httpx.Client) -> None:
    path = f"/v1/requests/{ask(client, 'many things')['request_id']}/result"
    assert client.get(path).json() == {"items": 3001}
    lines = client.get(path, headers={"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    items = [json.loads(line) for line in lines.text.splitlines()]
    assert len(items) == 3001
    assert client.get(path, headers={"Accept": "image/png"}).status_code == 406


def test_there_is_no_result_before_the_end(client: httpx.Client) -> None:
    request_id = ask(client, "gated", wait_s=0)["request_id"]
    assert client.get(f"/v1/requests/{request_id}/result").status_code == 409


def test_so_many_open_requests_are_enough(project: Collectors, notes: Path) -> None:
    server = Served(project, limits=Limits(open_requests=2))
    with httpx.Client(base_url=server.url, timeout=30) as client:
        asked = [client.post("/v1/requests", json={"topic": "gated"}) for _ in range(3)]
        assert [one.status_code for one in asked] == [202, 202, 429]
        assert int(asked[2].headers["Retry-After"]) > 0
        (notes / "gate").touch()
        for one in asked[:2]:
            project.get(one.json()["request_id"]).wait(20)
        # Whether any has ended is looked at once a second.
        until(lambda: client.post("/v1/requests", json={"topic": "python"}).status_code == 202, "there is room again")
    server.stop()


def test_asking_again_with_the_same_key_needs_no_room(project: Collectors) -> None:
    server = Served(project, limits=Limits(open_requests=1))
    with httpx.Client(base_url=server.url, timeout=30) as client:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        first, again = (client.post("/v1/requests", json={"topic": "gated"}, headers=key) for _ in range(2))
        assert client.post("/v1/requests", json={"topic": "gated"}).status_code == 429, "it is full"
        assert again.status_code == 202, again.text
        assert again.json()["request_id"] == first.json()["request_id"]
    server.stop()


def test_a_retry_needs_room_like_a_question(project: Collectors) -> None:
    server = Served(project, limits=Limits(open_requests=1))
    with httpx.Client(base_url=server.url, timeout=30) as client:
        ended = ask(client, "permanent")["request_id"]
        until(lambda: client.post("/v1/requests", json={"topic": "gated"}).status_code == 202, "there is room again")
        over_http = client.post(f"/v1/requests/{ended}/retry", json={"force": True})
        on_its_page = client.post(f"/requests/{ended}/retry", data={"force": "on"})
        for refused in (over_http, on_its_page):
            assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (429, True)
        assert "have not ended" in on_its_page.text
        ticked = client.post("/many", data={"action": "retry", "request_id": [ended, ended]})
        assert (ticked.status_code, int(ticked.headers["Retry-After"]) > 0) == (429, True)
        assert f"2 of 2 were left, from {ended} on" in ticked.text
        assert project.get(ended).report().generation == 1
    server.stop()


def test_what_can_never_be_tried_again_is_not_put_off(project: Collectors) -> None:
    server = Served(project, limits=Limits(open_requests=1))
    with httpx.Client(base_url=server.url, timeout=30) as client:
        running = client.post("/v1/requests", json={"topic": "gated"}).json()["request_id"]
        refused = client.post(f"/v1/requests/{running}/retry")
        assert (refused.status_code, refused.json()["error"]) == (409, "RefusedError")
    server.stop()


def test_what_is_tried_again_takes_room(project: Collectors) -> None:
    server = Served(project, limits=Limits(open_requests=1))
    ended = project.request("gated", deadline=1)
    ended.wait(20)
    with httpx.Client(base_url=server.url, timeout=30) as client:
        assert client.post(f"/v1/requests/{ended.id}/retry", json={"deadline_s": 60}).status_code == 202
        assert client.post("/v1/requests", json={"topic": "python"}).status_code == 429
    server.stop()


def test_collectors_are_listed_with_how_they_did(client: httpx.Client, empty_ledger: None) -> None:
    ask(client, "permanent")
    ask(client, "python")
    found = {one["name"]: one for one in client.get("/v1/collectors").json()["collectors"]}
    assert found["steady"]["description"] == "Answers every topic."
    assert (found["steady"]["lately"]["runs"], found["steady"]["lately"]["reliability"]) == (2, 1.0)
    assert found["permanent"]["lately"]["last_error"]["message"] == "the key was revoked"
    assert found["gated"]["lately"]["reliability"] is None


def test_the_process_says_how_it_is(client: httpx.Client) -> None:
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").json() == {"ready": True, "workers": 1}
    client.get(f"/v1/requests/{uuid.uuid4()}")
    metrics = client.get("/metrics").text
    assert "collectors_ledger_up 1.0" in metrics
    assert 'collectors_http_calls_total{method="GET",route="/v1/requests/{request_id}",status="404"}' in metrics


def test_nothing_that_is_sent_becomes_a_metric_of_its_own(client: httpx.Client) -> None:
    odd = uuid.uuid4().hex
    for path in (f"/{odd}", f"/static/{odd}", f"/requests/{odd}", f"/requests/z/rows/z{odd}"):
        client.get(path)
    client.post(f"/requests/z/z{odd}")
    assert odd not in client.get("/metrics").text
