"""From the page to Flower: the links lead to the very tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, expect

from celery_collectors import Collectors
from tests.browser.conftest import new_page
from tests.integration.conftest import until
from tests.servers.server import free_ports
from tests.web.conftest import ROOT, Served

pytest.importorskip("flower")

LOGIN = {"username": "collectors", "password": "secret"}


@pytest.fixture(scope="module")
def flower(project: Collectors, worker: None, urls: dict[str, str], notes: Path) -> Iterator[str]:
    """Flower beside the worker; its address."""
    port = free_ports(1)[0]
    environment = {
        **os.environ,
        "CELERY_BROKER_URL": urls["broker"],
        "COLLECTORS_LEDGER": urls["ledger"],
        "GALLERY_NOTES": str(notes),
        "FLOWER_BASIC_AUTH": ":".join(LOGIN.values()),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    command = [sys.executable, "-m", "celery", "-A", "tests.web.gallery", "flower", "--address=127.0.0.1"]
    with (notes / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--port={port}", f"--conf={os.devnull}"], env=environment, cwd=ROOT, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    until(lambda: _answers(url), f"Flower answers: {(notes / 'flower.log').read_text()}", within_s=60)
    yield url
    process.kill()
    process.wait(10)


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/healthcheck", timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture
def linked(browser: Browser, project: Collectors, flower: str) -> Iterator[Page]:
    """A page of a server that knows where Flower is, in a browser that knows its password."""
    server = Served(project, flower=flower)
    page, _ = new_page(browser, server.url, http_credentials=LOGIN)
    yield page
    page.context.close()
    server.stop()


def test_a_row_leads_to_its_task(linked: Page, project: Collectors) -> None:
    request = project.request("mend permanent", messages="each")
    request.wait(20)
    for name, ref in (("permanent", "2"), ("process", "process")):
        linked.goto(f"/requests/{request.id}")
        linked.get_by_role("link", name=f"{name} in Flower").click()
        expect(linked.locator("code", has_text=f"{request.id}-{ref}-1.1").first).to_be_visible()


def test_a_request_leads_to_the_list_of_its_tasks(linked: Page, project: Collectors) -> None:
    other, request = [project.request(topic, messages="each") for topic in ("other", "permanent mend")]
    assert request.wait(20).is_final
    assert other.wait(20).is_final
    linked.goto(f"/requests/{request.id}")
    linked.get_by_role("link", name="Its tasks in Flower").click()
    rows = linked.locator("#tasks-table tbody tr")
    expect(rows).to_have_count(5)  # three runs, cleanup, process
    assert all(request.id in str(row.get_attribute("id")) for row in rows.all())


def test_a_row_that_may_have_shared_a_message_leads_to_those_that_may_be_it(linked: Page, project: Collectors) -> None:
    request = project.request("permanent mend")  # as few messages as the work needs
    assert request.wait(20).is_final
    linked.goto(f"/requests/{request.id}")
    linked.get_by_role("link", name="mends in Flower").click()
    rows = linked.locator("#tasks-table tbody tr")
    expect(rows).to_have_count(1)
    assert str(rows.first.get_attribute("id")).startswith((f"{request.id}-1-", f"{request.id}-pack"))


def test_without_flower_nothing_is_linked(browser: Browser, served: Served, project: Collectors, worker: None) -> None:
    request = project.request("alone")
    request.wait(20)
    page, _ = new_page(browser, served.url)
    page.goto(f"/requests/{request.id}")
    expect(page.locator(".facts .state")).to_have_text("✓ complete")
    assert page.locator("a[href*='/task']").count() == 0
    page.context.close()
