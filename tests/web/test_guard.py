"""Who is let in: by name, by key, and from which pages."""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from celery_collectors import Collectors
from celery_collectors.errors import SettingsError
from celery_collectors.web.keys import Keys, make_key
from celery_collectors.web.serve import make_server
from tests.integration.conftest import until
from tests.web.conftest import Served

TOO_MUCH = b"2000\r\n%b\r\n" % (b"x" * 8192) * 9


@pytest.fixture(scope="module")
def key() -> tuple[str, str]:
    return make_key("grafana")


@pytest.fixture(scope="module")
def locked(project: Collectors, key: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"# who may\n\n{key[1]}\n")
    server = Served(project, keys=path, hosts=["collectors.example"])
    yield server
    server.stop()


def test_without_its_key_nothing_is_told(locked: Served, key: tuple[str, str]) -> None:
    with httpx.Client(base_url=locked.url) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic !"}, {"Authorization": "x"}):
            for path in ("/v1/collectors", "/metrics", "/openapi.json", "/nowhere"):
                answer = client.get(path, headers=headers)
                way = "Bearer" if path.startswith("/v1/") else "Basic"
                assert (answer.status_code, answer.headers["WWW-Authenticate"].split()[0]) == (401, way)
        page = client.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
        assert page.text.startswith("<!doctype html>")
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        assert client.get("/v1/requests", headers={"Authorization": f"Bearer {key[0]}"}).status_code == 200
        password = base64.b64encode(f"anyone:{key[0]}".encode()).decode()
        assert client.get("/v1/requests", headers={"Authorization": f"Basic {password}"}).status_code == 200


def test_whom_the_guard_refuses_is_counted(locked: Served, key: tuple[str, str]) -> None:
    with httpx.Client(base_url=locked.url) as client:
        assert client.get("/v1/requests").status_code == 401
        assert client.get("/v1/requests", headers={"Host": "evil.example"}).status_code == 421
        counted = client.get("/metrics", headers={"Authorization": f"Bearer {key[0]}"}).text
    for status in (401, 421):
        assert f'collectors_http_calls_total{{method="GET",route="-",status="{status}"}}' in counted


def test_who_cancelled_is_in_the_report(locked: Served, key: tuple[str, str]) -> None:
    with httpx.Client(base_url=locked.url, headers={"Authorization": f"Bearer {key[0]}"}) as client:
        path = client.post("/v1/requests", json={"topic": "gated"}).headers["Location"]
        client.post(f"{path}/cancel", json={"reason": "enough"})
        assert client.get(path).json()["error"]["message"] == "cancelled by grafana: enough"


def test_a_key_is_kept_as_its_hash_only(key: tuple[str, str]) -> None:
    assert key[0] not in key[1]
    assert Keys.read(key[1]).whose(key[0]) == "grafana"
    assert Keys.read(key[1]).whose(key[0][:-1]) is None


def test_whoever_sends_no_key_is_nobody() -> None:
    assert Keys.read(f"nobody sha256:{hashlib.sha256(b'').hexdigest()}").whose("") is None


@pytest.mark.parametrize("text", ["grafana", "a b sha256:" + "0" * 64, "a sha256:short"])
def test_a_file_of_keys_that_cant_be_read_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="line 1"):
        Keys.read(text)


def test_a_server_that_others_reach_needs_keys(project: Collectors, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "collectors.example"):
        with pytest.raises(SettingsError, match="can be reached from other machines"):
            make_server(project, host=host)
    (tmp_path / "keys").write_text("# nobody yet\n")
    with pytest.raises(SettingsError, match="has no key"):
        make_server(project, host="0.0.0.0", keys=tmp_path / "keys")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", ""])
def test_a_name_that_is_not_ours_is_refused(client: httpx.Client, host: str) -> None:
    answer = client.get("/v1/requests", headers={"Host": host})
    assert (answer.status_code, answer.headers["content-type"]) == (421, "application/problem+json")


def test_who_watches_it_may_call_it_by_an_address(locked: Served) -> None:
    statuses = {
        (host, path): httpx.get(locked.url + path, headers={"Host": host}).status_code
        for host in ("192.0.2.1:8000", "[2001:db8::1]", "evil.example")
        for path in ("/healthz", "/readyz", "/v1/requests")
    }
    watched = {(host, path) for host, path in statuses if host != "evil.example" and path != "/v1/requests"}
    assert statuses == {one: 200 if one in watched else 421 for one in statuses}


def test_names_that_were_given_are_ours(locked: Served, key: tuple[str, str]) -> None:
    headers = {"Host": "Collectors.example", "Authorization": f"Bearer {key[0]}"}
    assert httpx.get(f"{locked.url}/v1/requests", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
    ],
)
def test_a_page_of_another_site_changes_nothing(client: httpx.Client, headers: dict[str, str]) -> None:
    assert client.post("/v1/requests", json={"topic": "python"}, headers=headers).status_code == 403


@pytest.mark.parametrize("origin", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://127.0.0.1:1"}])
def test_a_page_of_another_site_links_here_and_fetches_nothing(client: httpx.Client, origin: dict[str, str]) -> None:
    def status(mode: str, dest: str) -> int:
        return client.get("/collectors", headers=origin | {"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}).status_code

    assert status("navigate", "document") == 200
    for mode, dest in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe")):
        assert status(mode, dest) == 403


def test_our_own_page_and_what_is_no_browser_may(client: httpx.Client) -> None:
    own = str(client.base_url).rstrip("/")
    for headers in ({}, {"Origin": own}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert client.post("/v1/requests", json={"topic": "python"}, headers=headers).status_code == 202


def test_a_body_that_is_too_large_is_refused_before_it_is_read(client: httpx.Client) -> None:
    large = b'{"topic": "' + b"x" * 70_000 + b'"}'
    json = {"Content-Type": "application/json"}
    assert client.post("/v1/requests", content=large, headers=json).status_code == 413
    pieces = (large[start : start + 10_000] for start in range(0, len(large), 10_000))
    assert client.post("/v1/requests", content=pieces, headers=json).status_code == 413


def test_every_answer_forbids_what_a_page_might_do_with_it(client: httpx.Client) -> None:
    for path in ("/v1/requests", "/nowhere"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    ("call", "sent", "answered"),
    [
        ("POST /ask", b"Content-Length: 100\r\n\r\ntopic=x", b""),
        ("GET /list/events", b"Transfer-Encoding: chunked\r\n\r\n" + TOO_MUCH, b"heartbeat"),
    ],
)
def test_a_body_that_never_ends_leaves_no_error(
    served: Served, caplog: pytest.LogCaptureFixture, call: str, sent: bytes, answered: bytes
) -> None:
    tasks = served.server.server_state.tasks
    until(lambda: not tasks, "nobody else asks")
    with socket.create_connection(("127.0.0.1", served.port), 10) as caller:
        caller.sendall(f"{call} HTTP/1.1\r\nHost: localhost\r\n".encode() + sent)
        until(lambda: tasks, "it is being answered")
        heard = b""
        while answered not in heard:
            heard += caller.recv(4096)
    until(lambda: not tasks, "nothing is left of it")
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []
