"""The stream of what happens to one request."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from celery_collectors import Collectors
from celery_collectors.events import Event
from celery_collectors.handle import Request
from celery_collectors.web.app import create_app
from celery_collectors.web.face import Limits
from tests.integration.conftest import until
from tests.web.conftest import Served
from tests.web.test_requests import ask

pytestmark = pytest.mark.usefixtures("worker")


def told(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The events of a stream, heartbeats included, as they come."""
    found: dict[str, Any] = {}
    for line in response.iter_lines():
        if not line and found:
            yield found
            found = {}
        elif line:
            name, _, value = line.partition(": ")
            found[name or "comment"] = json.loads(value) if name == "data" else value


def follow(client: httpx.Client, request_id: str, last_id: str | None = None) -> list[dict[str, Any]]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with client.stream("GET", f"/v1/requests/{request_id}/events", headers=headers) as response:
        assert response.status_code == 200
        return [one for one in told(response) if "event" in one]


def test_a_stream_begins_with_a_snapshot_and_ends_with_the_report(client: httpx.Client, notes: Path) -> None:
    request_id = ask(client, "gated", wait_s=0)["request_id"]
    opener = threading.Timer(0.5, (notes / "gate").touch)
    opener.start()
    events = follow(client, request_id)
    assert (events[0]["event"], events[0]["data"]["state"]) == ("snapshot", "collecting")
    assert ("collector", "gated", "ok") in [(e["event"], e["data"].get("name"), e["data"]["state"]) for e in events]
    assert [e["data"]["state"] for e in events if e["event"] == "request"][-1] == "complete"
    assert events[-1]["event"] == "end"
    assert events[-1]["data"] == client.get(f"/v1/requests/{request_id}").json()


def test_a_snapshot_is_marked_with_the_newest_event_and_reads_no_other(
    client: httpx.Client, project: Collectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id, after, happened = ask(client, "python")["request_id"], list[str](), Request.happened
    last = project.get(request_id).happened()[-1].id

    def noted(self: Request, since: str = "0") -> list[Event]:
        after.append(since)
        return happened(self, since)

    monkeypatch.setattr(Request, "happened", noted)
    assert [(one["event"], one["id"]) for one in follow(client, request_id)] == [("snapshot", last), ("end", last)]
    assert set(after) == {last}


def test_a_reader_goes_on_where_it_was(client: httpx.Client, project: Collectors) -> None:
    request_id = ask(client, "python")["request_id"]
    ids = [event.id for event in project.get(request_id).events()]
    assert [one["id"] for one in follow(client, request_id, ids[1])][:-1] == ids[2:]


def test_who_has_heard_the_end_is_told_to_stay_away(client: httpx.Client, project: Collectors) -> None:
    request_id = ask(client, "python")["request_id"]
    last = [event.id for event in project.get(request_id).events()][-1]
    answer = client.get(f"/v1/requests/{request_id}/events", headers={"Last-Event-ID": last})
    assert answer.status_code == 204


def test_a_silent_stream_says_that_it_lives(client: httpx.Client) -> None:
    request_id = ask(client, "gated", wait_s=0)["request_id"]
    with client.stream("GET", f"/v1/requests/{request_id}/events") as response:
        assert next(one for one in told(response) if "comment" in one)["comment"] == "heartbeat"


def test_readers_hold_no_threads_and_leave_nothing_behind(client: httpx.Client, project: Collectors) -> None:
    server = Served(project, limits=Limits(threads=2))
    with httpx.Client(base_url=server.url, timeout=30) as readers:
        request_id = ask(readers, "gated", wait_s=0)["request_id"]
        streams = [readers.stream("GET", f"/v1/requests/{request_id}/events") for _ in range(20)]
        for stream in streams:
            assert next(told(stream.__enter__()))["retry"]
        assert readers.get("/readyz").status_code == 200  # although there are two threads for twenty readers
        for stream in streams:
            stream.__exit__(None, None, None)
    until(lambda: not server.server.server_state.tasks, "nothing is left of the readers")
    server.stop()


def test_a_server_that_stops_ends_its_streams(project: Collectors) -> None:
    server = Served(project)
    with httpx.Client(base_url=server.url, timeout=30) as client:
        request_id = ask(client, "gated", wait_s=0)["request_id"]
        with client.stream("GET", f"/v1/requests/{request_id}/events") as response:
            events = told(response)
            assert next(events)["retry"]
            server.server.should_exit = True
            assert "end" not in {one.get("event") for one in events}
    server.stop()


def test_a_stream_whose_time_is_over_ends_quietly(project: Collectors, caplog: pytest.LogCaptureFixture) -> None:
    server = Served(project, limits=Limits(stream_s=1, heartbeat_s=0.01))
    with httpx.Client(base_url=server.url, timeout=30) as client:
        request_id = ask(client, "gated", wait_s=0)["request_id"]
        events = follow(client, request_id)
        assert events[0]["event"] == "snapshot"
        assert "end" not in [one["event"] for one in events]
    until(lambda: not server.server.server_state.tasks, "nothing is left of the reader")
    server.stop()
    assert [one for one in caplog.records if one.levelname in ("ERROR", "WARNING")] == []


def test_a_reader_that_stalls_as_the_time_ends_is_let_go_quietly(
    project: Collectors, caplog: pytest.LogCaptureFixture
) -> None:
    request_id = project.request("gated").id
    app = create_app(project, limits=Limits(stream_s=0.5, heartbeat_s=0.01))
    path = f"/v1/requests/{request_id}/events"
    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(),
        "scheme": "http", "root_path": "", "query_string": b"", "headers": [(b"host", b"localhost")],
        "asgi": {"version": "3.0", "spec_version": "2.4"}, "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 9),
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)
        if b"heartbeat" in message.get("body", b""):
            await anyio.sleep(1)  # longer than the stream's time

    async def serve() -> None:
        with anyio.fail_after(20):
            await app(scope, receive, send)

    anyio.run(serve)
    assert [one for one in sent if b"heartbeat" in one.get("body", b"")]
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert [one for one in caplog.records if one.levelname in ("ERROR", "WARNING")] == []
