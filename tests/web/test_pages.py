"""The page as a client without any browser has it: what must not go wrong however it is asked."""

from __future__ import annotations

import httpx
import pytest

from tests.web.test_requests import ask

pytestmark = pytest.mark.usefixtures("worker")


@pytest.mark.parametrize("query", ["?state=odd&since=never&cursor=x", "?topic=%5B", "?since=2026-01-02T03:04"])
def test_a_filter_that_is_not_understood_filters_nothing(client: httpx.Client, query: str) -> None:
    assert client.get(f"/{query}").status_code == client.get(f"/list{query}").status_code == 200


def test_a_form_that_is_no_text_is_no_question(client: httpx.Client) -> None:
    answer = client.post("/ask", content=b"topic=%ff%00&deadline_s=\xff")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "text/html; charset=utf-8")
    assert 'role="alert"' in answer.text


def test_a_deadline_that_is_none_is_refused(client: httpx.Client) -> None:
    assert client.post("/ask", data={"topic": "python", "deadline_s": "nan"}).status_code == 422


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
    assert client.post("/many", data={"action": "explode", "request_id": request_id}).status_code == 409


def test_an_action_that_is_not_there_is_refused(client: httpx.Client) -> None:
    request_id = ask(client, "python")["request_id"]
    assert client.post(f"/requests/{request_id}/explode").status_code == 409
