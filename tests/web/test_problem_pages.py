"""Problems: pages for a browser, problem+json for programs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from celery_collectors import Collectors
from celery_collectors.web.guard import SAID_WITH_ALL
from tests.web.conftest import Served
from tests.web.test_requests import NOBODYS, ask

pytestmark = pytest.mark.usefixtures("worker")

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FAILING = [
    ("GET", f"/requests/{NOBODYS}", 404),
    ("GET", f"/requests/{NOBODYS}/download", 404),
    ("GET", f"/requests/{NOBODYS}/rows/0", 404),
    ("POST", f"/requests/{NOBODYS}/cancel", 404),
    ("GET", "/requests/no-uuid", 422),
    ("GET", "/nowhere", 404),
    ("DELETE", "/", 405),
    ("POST", "/ask", 413),
]


@pytest.mark.parametrize(("method", "path", "status"), FAILING)
def test_a_browser_gets_a_page_and_a_program_a_problem(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    content = b"x" * 100_000 if status == 413 else None
    page = client.request(method, path, headers=BROWSER, content=content)
    problem = client.request(method, path, content=content)
    assert page.status_code == problem.status_code == status
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert 'role="alert"' in page.text
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert problem.headers["content-type"] == "application/problem+json"
    assert page.headers.get("allow") == problem.headers.get("allow")


def test_a_download_that_has_no_result_yet_is_a_page(client: httpx.Client) -> None:
    request_id = ask(client, "gated", wait_s=0)["request_id"]
    answer = client.get(f"/requests/{request_id}/download", headers=BROWSER)
    assert (answer.status_code, "has no result yet" in answer.text) == (409, True)
    assert "Content-Disposition" not in answer.headers


@pytest.mark.parametrize("path", [f"/v1/requests/{NOBODYS}", "/v1/nowhere"])
def test_under_the_api_there_are_no_pages(client: httpx.Client, path: str) -> None:
    assert client.get(path, headers=BROWSER).headers["content-type"] == "application/problem+json"


def test_what_a_page_asks_for_is_no_page(client: httpx.Client) -> None:
    answer = client.get(f"/requests/{NOBODYS}/part", headers={"Accept": "*/*", "HX-Request": "true"})
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_name_in_an_address_is_shown_as_text(client: httpx.Client) -> None:
    answer = client.get("/requests/<script>alert(1)", headers=BROWSER)
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text


def test_what_nobody_foresaw_is_a_page_without_its_cause(
    served: Served, project: Collectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(project, "list", broken)
    answer = httpx.get(served.url, headers=BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "the server&#39;s log has the traceback" in answer.text
    assert "secret" not in answer.text
    problem = httpx.get(served.url)
    assert problem.headers["content-type"] == "application/problem+json"
    assert {name: problem.headers.get(name) for name in SAID_WITH_ALL} == SAID_WITH_ALL
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
