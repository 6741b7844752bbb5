"""Where Flower is: how the page is told, and what it takes for an address."""

from __future__ import annotations

import httpx
import pytest

from celery_collectors import Collectors
from celery_collectors.errors import SettingsError
from celery_collectors.up import parts
from celery_collectors.web.flower import Flower
from tests.web.conftest import Served
from tests.web.test_requests import ask

WRONG = [
    "javascript:alert(1)", "ftp://host", "//host", "host:5555", "http://", "http://user:secret@host", "http://host/?a=b",
]  # fmt: skip


@pytest.mark.parametrize("url", WRONG)
def test_what_is_no_address_of_a_web_page_is_refused_at_once(project: Collectors, url: str) -> None:
    with pytest.raises(SettingsError, match="Flower's address") as refused:
        Served(project, flower=url)
    assert "secret" not in str(refused.value)


def test_a_prefix_of_flowers_stays() -> None:
    assert Flower.at("https://example.org/flower/").request("1") == "https://example.org/flower/tasks?name=1%20OR%201"


def test_the_flower_that_runs_beside_the_page_is_linked() -> None:
    assert parts.web("news", port=1, flower_port=5556).argv[-2:] == ["--flower", "http://127.0.0.1:5556"]
    assert "--flower" not in parts.web("news", port=1, flower_port=None).argv


@pytest.mark.usefixtures("worker")
def test_links_tell_flower_nothing_and_need_no_wider_policy(project: Collectors) -> None:
    server = Served(project, flower="http://127.0.0.1:5555")
    with httpx.Client(base_url=server.url, timeout=30) as client:
        request_id = ask(client, "python")["request_id"]
        page = client.get(f"/requests/{request_id}")
    server.stop()
    assert page.text.count('href="http://127.0.0.1:5555/') == page.text.count('rel="noreferrer noopener"') == 4
    assert "5555" not in page.headers["Content-Security-Policy"]
