"""How long collectors have taken lately, on a request's page."""

from __future__ import annotations

import httpx
import pytest

from celery_collectors import Collectors, collectors
from tests.web.test_requests import ask

pytestmark = pytest.mark.usefixtures("worker")


def test_this_request_is_marked_among_the_newest(client: httpx.Client) -> None:
    ids = [ask(client, "python")["request_id"] for _ in range(3)]
    page = client.get(f"/requests/{ids[1]}/over-time").text
    assert page.startswith("<!doctype html>")
    assert page.count('class="dot"') == 1
    assert 'aria-label="steady, the oldest first: half took at most ' in page


def test_in_the_page_it_is_a_part(client: httpx.Client) -> None:
    request_id = ask(client, "python")["request_id"]
    part = client.get(f"/requests/{request_id}/over-time", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert "newest 100 requests" in part


def test_of_large_requests_fewer_are_read(
    client: httpx.Client, project: Collectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [ask(client, topic)["request_id"] for topic in ("python", "permanent", "permanent mend")]
    monkeypatch.setattr(collectors, "LATELY_RUNS", 5)
    assert [one.request_id for one, _ in project.lately()] == [ids[2], ids[1]]
    assert project.tallies()["steady"].runs == 2
    assert 'class="dot"' in client.get(f"/requests/{ids[0]}/over-time").text  # its own are there in any case
