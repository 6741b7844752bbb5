"""HEAD says what GET would, and no more: also of what is long, never ends, or is an error."""

from __future__ import annotations

import re
import uuid

import httpx
import pytest

from tests.integration.conftest import until

OF_ITS_OWN = {"date", "content-length", "transfer-encoding"}  # of what is made while it is sent no length is known


def headers(answer: httpx.Response) -> dict[str, str]:
    """What it says of itself, without what no two answers have in common."""
    said = {name: re.sub(r"nonce-[^']+", "", value) for name, value in answer.headers.items()}
    return {name: value for name, value in said.items() if name not in OF_ITS_OWN}


@pytest.mark.parametrize(
    "path",
    ["/", "/healthz", "/readyz", "/metrics", "/v1/requests", "/v1/collectors", "/openapi.json", "/static/page.css"],
)
def test_it_says_what_get_says(client: httpx.Client, path: str) -> None:
    got, probed = client.get(path), client.head(path)
    assert (probed.status_code, probed.content) == (200, b"")
    assert headers(probed) == headers(got)
    if path in {"/healthz", "/openapi.json", "/static/page.css"}:  # the others may differ a moment later
        assert probed.headers["content-length"] == got.headers["content-length"]


def test_a_stream_begins_and_ends(client: httpx.Client) -> None:
    """While its request still runs: events would come until that ends."""
    location = client.post("/v1/requests", json={"topic": "gated", "deadline_s": 60}).headers["Location"]
    open_before = opened(client)
    probed = client.head(f"{location}/events", timeout=5)
    assert (probed.status_code, probed.content) == (200, b"")
    assert probed.headers["content-type"].startswith("text/event-stream")
    until(lambda: opened(client) == open_before, "nothing is left running for it", 5)
    client.post(f"{location}/cancel")


def opened(client: httpx.Client) -> str:
    (line,) = re.findall(r"^collectors_http_open (\S+)$", client.get("/metrics", timeout=5).text, re.M)
    return line


def test_an_error_is_one(client: httpx.Client) -> None:
    assert client.head(f"/v1/requests/{uuid.uuid4()}").status_code == 404
    assert client.head("/nowhere").status_code == 404
    only_post = client.head(f"/v1/requests/{uuid.uuid4()}/cancel")
    assert (only_post.status_code, only_post.headers["Allow"]) == (405, "POST")
