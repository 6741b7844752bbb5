"""The stream that tells that the list of requests has changed."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
import redis

from celery_collectors import Collectors
from celery_collectors.web.face import Limits
from celery_collectors.web.list_stream import LOOK_S
from tests.integration.conftest import until
from tests.web.conftest import Served
from tests.web.test_requests import ask
from tests.web.test_streams import told

pytestmark = pytest.mark.usefixtures("worker")


def first(events: Any, name: str) -> dict[str, Any]:
    return next(one for one in events if one.get("event") == name)


def test_it_says_that_a_request_came_and_nothing_of_others(client: httpx.Client) -> None:
    with client.stream("GET", "/list/events?topic=streamed") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = told(response)
        before = first(events, "changed")["id"]
        ask(client, "another")
        assert next(events).get("comment") == "heartbeat"  # and no change, whose place it has
        ask(client, "streamed")
        assert first(events, "changed")["id"] != before


def test_who_has_heard_of_it_hears_it_once(client: httpx.Client) -> None:
    with client.stream("GET", "/list/events?topic=heard") as response:
        heard = first(told(response), "changed")["id"]
    headers = {"Last-Event-ID": heard}
    with client.stream("GET", "/list/events?topic=heard", headers=headers) as response:
        events = told(response)
        assert next(events)["retry"]
        assert next(events).get("comment") == "heartbeat"
    with client.stream("GET", "/list/events?topic=heard", headers={"Last-Event-ID": "another"}) as response:
        assert first(told(response), "changed")["id"] == heard


def test_all_who_watch_one_list_cost_one_look(project: Collectors, urls: dict[str, str]) -> None:
    server = Served(project, limits=Limits(threads=2))
    ledger = redis.Redis.from_url(urls["ledger"])

    def looks() -> int:
        return int(ledger.info("commandstats").get("cmdstat_zrevrangebyscore", {"calls": 0})["calls"])

    with httpx.Client(base_url=server.url, timeout=30, limits=httpx.Limits(max_connections=50)) as readers:
        before, began_at = looks(), time.monotonic()
        streams = [readers.stream("GET", "/list/events") for _ in range(20)]
        held = [told(stream.__enter__()) for stream in streams]
        for events in held:
            assert first(events, "changed")
        took_s = time.monotonic() - began_at
        assert (looks() - before) / project.settings.shards <= 2 + took_s / LOOK_S * 2
        for stream in streams:
            stream.__exit__(None, None, None)
    until(lambda: not server.server.server_state.tasks, "nothing is left of the readers")
    server.stop()


def test_a_server_that_stops_ends_it(project: Collectors) -> None:
    server = Served(project)
    with httpx.Client(base_url=server.url, timeout=30) as client, client.stream("GET", "/list/events") as response:
        events = told(response)
        assert first(events, "changed")
        server.server.should_exit = True
        assert "changed" not in {one.get("event") for one in events}
    server.stop()
