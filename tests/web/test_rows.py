"""What a row of the table opens: one run or stage, with all that is known of it."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from celery import group

from celery_collectors import Collectors, chord
from celery_collectors.errors import PayloadsUnavailable, RequestUnknown
from celery_collectors.handle import Request
from tests.web import gallery
from tests.web.test_requests import ask

pytestmark = pytest.mark.usefixtures("worker")


def row(client: httpx.Client, request_id: str, ref: str, *, alone: bool = False) -> httpx.Response:
    headers = {} if alone else {"HX-Request": "true"}
    return client.get(f"/requests/{request_id}/rows/{ref}", headers=headers)


def text_of(page: str) -> str:
    """What a person reads, on one line."""
    return " ".join(re.sub("<[^>]*>", " ", page).split())


def test_it_says_what_went_wrong_and_what_was_asked(client: httpx.Client) -> None:
    request_id = ask(client, "permanent", deadline_s=25, min_ok=0)["request_id"]
    text = text_of(row(client, request_id, "1").text)
    assert "✗ failed" in text
    assert "PermanentError: the key was revoked" in text
    assert "Trying again can't help." in text
    assert "Traceback (most recent call last)" in text
    assert "tests.web.gallery.permanent on collectors.gallery" in text
    assert "at most 4, each 30.0 s at most" in text
    assert "deadline 25.0 s, stages 1 min 0 s, at least 0 must answer, priority normal, messages auto" in text


def test_alone_it_is_a_page_and_in_the_table_a_part(client: httpx.Client) -> None:
    request_id = ask(client, "python")["request_id"]
    page, part = row(client, request_id, "0", alone=True), row(client, request_id, "0")
    assert page.text.startswith("<!doctype html>")
    assert f'<a href="/requests/{request_id}">python</a>' in page.text
    assert "<html" not in part.text
    assert part.text.strip() in page.text
    assert "default-src 'none'" in part.headers["Content-Security-Policy"]


def test_what_was_collected_is_shown_as_text_and_never_whole_where_it_is_much(client: httpx.Client) -> None:
    page = row(client, ask(client, "hostile")["request_id"], "1").text
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "… (cut off here)" in page
    assert len(page) < 10_000


def test_of_many_items_the_first_are_shown(client: httpx.Client) -> None:
    page = row(client, ask(client, "many")["request_id"], "1").text
    assert "The first 5 of 3000 items" in page
    assert page.count("0" * 900) == 5


def test_items_that_are_huge_are_not_read_to_be_shown(client: httpx.Client) -> None:
    request_id = ask(client, "huge", only=["huge"])["request_id"]
    assert "What it found is too large to be shown here." in row(client, request_id, "0").text
    page = client.get(f"/requests/{request_id}").text
    assert "The items are too large to be shown here; the downloads have them." in page
    assert "xxxx" not in page


def test_nothing_is_shown_of_what_the_ledger_does_not_hold(project: Collectors) -> None:
    request = project.request("python")
    request.wait(20)
    assert request.first_items()
    client = project.client.ledger.client
    client.delete(*client.scan_iter(f"*{request.id}*"))
    for look in (request.first_items, request.items):
        with pytest.raises(RequestUnknown):
            look()


def test_items_that_cant_be_read_now_leave_what_else_is_known(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = ask(client, "python")["request_id"]

    def away(self: Request, ref: str) -> list[Any]:
        raise PayloadsUnavailable("the bucket does not answer")

    monkeypatch.setattr(Request, "first_items", away)
    answer = row(client, request_id, "0")
    assert answer.status_code == 200
    assert "1 attempt, 1 item" in text_of(answer.text)
    assert "the bucket does not answer" in answer.text


def test_a_stage_has_no_items_here(client: httpx.Client) -> None:
    page = row(client, ask(client, "python")["request_id"], "process").text
    assert "tests.web.gallery.total" in page
    assert "items, as collected" not in page


def test_a_chords_member_shows_what_it_was_called_with(client: httpx.Client, project: Collectors) -> None:
    member = gallery.echo.s("<b>bold</b>", "\ud800", of=[1, 2]).set(countdown=0)
    asked = chord(group(member), deadline=20)(gallery.echo.s())
    asked.request.wait(20)
    text = text_of(row(client, asked.request_id, "0").text)
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "{ &#34;of&#34;: [ 1, 2 ] }" in text
    assert "tests.web.gallery.echo" in text_of(row(client, asked.request_id, "gathering").text)


@pytest.mark.parametrize("ref", ["99", "gathering"])
def test_a_row_that_is_not_there(client: httpx.Client, ref: str) -> None:
    assert row(client, ask(client, "python")["request_id"], ref).status_code == 404
