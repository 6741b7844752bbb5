"""The page of the workers: who is there, and one of them asked to end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from celery_collectors import Collectors
from tests.web.conftest import ROOT, until

pytestmark = pytest.mark.usefixtures("worker")
COMMAND = [sys.executable, "-m", "celery", "-A", "tests.web.gallery", "worker", "-n", "other@web", "-P", "threads"]


@pytest.fixture
def other(project: Collectors, urls: dict[str, str], notes: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another worker, which may be ended."""
    environment = {**os.environ, "CELERY_BROKER_URL": urls["broker"], "COLLECTORS_LEDGER": urls["ledger"]}
    environment |= {"GALLERY_NOTES": str(notes), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    with (notes / "other.log").open("wb") as log:
        process = subprocess.Popen([*COMMAND, "-c", "1"], env=environment, cwd=ROOT, stdout=log, stderr=log)
    until(
        lambda: project.app.control.ping(destination=["other@web"], timeout=0.5),
        "the other worker hears what it is told",
    )
    until(lambda: "other@web" in [beat.worker for beat in project.workers()], "it has reported itself")
    yield process
    process.kill()
    process.wait(10)


def test_a_worker_is_shown_and_ends_when_it_is_asked_to(
    client: httpx.Client, other: subprocess.Popen[bytes], project: Collectors
) -> None:
    assert 'aria-label="Restart other@web"' in client.get("/workers").text
    answer = client.post("/workers", data={"name": "other@web"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/workers?asked=other%40web")
    assert "other@web was asked to end" in client.get("/workers?asked=other%40web").text
    assert other.wait(30) == 0
    until(lambda: [beat.worker for beat in project.workers()] == ["w@web"], "it has said that it leaves")


def test_one_that_is_not_there_is_not_asked(client: httpx.Client) -> None:
    for data in ({"name": "<b>@nowhere"}, {}):
        answer = client.post("/workers", data=data, headers={"Accept": "text/html"})
        assert answer.status_code == 404
        assert "no worker that is there is called" in answer.text
        assert "<b>@" not in answer.text


def test_another_site_restarts_nothing(client: httpx.Client) -> None:
    assert client.post("/workers", data={"name": "w@web"}, headers={"Origin": "https://evil"}).status_code == 403


def test_what_is_no_name_is_not_shown_as_one(client: httpx.Client) -> None:
    assert client.get("/workers", params={"asked": "Your password has expired. Call 555"}).status_code == 422


def test_while_the_broker_is_away_the_button_says_so(
    client: httpx.Client, project: Collectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project.app.conf, "broker_url", "amqp://guest@127.0.0.1:1//")
    answer = client.post("/workers", data={"name": "w@web"})
    assert answer.status_code == 503
    assert "w@web can't be asked, because the broker does not answer" in answer.text
