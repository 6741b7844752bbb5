"""Flower's own page in Chromium, with its password, beside what ``collectors up`` runs."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import new_page
from tests.cli.conftest import PATIENCE_S, Running, Shell, Spare, spare, until
from tests.servers.server import free_ports

__all__ = ["spare"]  # a fixture

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
APP = "tests.main.slow_app"
BACK_WITHIN_S = 10.0


@dataclass(frozen=True)
class Site:
    """What ``up`` runs, and how Flower is reached.

    Attributes:
        shell: The person's, with whose engine everything works.
        up: The command.
        url: Flower's.
        password: Of the user ``collectors``, as ``up`` has shown it.
    """

    shell: Shell
    up: Running
    url: str
    password: str

    def ask(self, topic: str) -> str:
        """Open a request, and return its id."""
        return self.shell.run("--app", APP, "collect", topic, "--detach").out.strip()

    def report(self, request_id: str) -> dict[str, Any]:
        return self.shell.run("--app", APP, "requests", "show", request_id, "--json").json()

    def states(self, request_id: str) -> dict[str, str]:
        return {name: one["state"] for name, one in self.report(request_id)["outcomes"].items()}

    def workers(self) -> set[int]:
        """The first process of each worker."""
        (parent,) = [p for p in psutil.process_iter() if p.pid == self.up.process.pid]
        return {child.pid for child in parent.children() if " worker " in " ".join(child.cmdline())}


@pytest.fixture(scope="module")
def site(spare: Spare) -> Iterator[Site]:
    """A worker and Flower on an engine of their own; a socket's path is short, so not ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(prefix="cc-")).resolve()
    shell = Shell(ROOT, folder / "h", spare, {"XDG_STATE_HOME": str(folder / "state"), "FLOWER_BASIC_AUTH": ""})
    port = str(free_ports(1)[0])
    up = shell.start("--app", APP, "up", "--no-web", "--concurrency", "3", "--flower-port", port)
    login = up.prints(r"Flower: (http://\S+), user collectors, password (\S+) \(shown this once")
    up.prints("ready: Flower answers at .* and knows the worker")
    yield Site(shell, up, login[1], login[2])
    up.process.terminate()
    up.process.wait(PATIENCE_S)
    shell.end_commands()
    shell.end_engine()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def flower(browser: Browser, site: Site) -> Iterator[Page]:
    """A page of somebody who knows the password; on Flower's pages nothing goes wrong, either."""
    login = {"username": "collectors", "password": site.password}
    page, watched = new_page(browser, site.url, http_credentials=login)
    yield page
    page.context.close()
    assert watched.errors == []
    assert watched.foreign == []


def _task_of(flower: Page, request_id: str, name: str) -> None:
    """Look for a request in the list of tasks, as a person does, and open one of its tasks."""
    flower.goto("/tasks")
    flower.get_by_role("searchbox").fill(f"kwargs:request_id={request_id}")
    row = flower.get_by_role("row").filter(has_text=f"{APP}.{name}")
    expect(row).to_have_count(1)
    row.get_by_role("link", name=re.compile(request_id)).click()
    expect(flower.get_by_text("Task details")).to_be_visible()


def test_nobody_comes_in_without_the_password(browser: Browser, site: Site) -> None:
    page, _ = new_page(browser, site.url, http_credentials={"username": "collectors", "password": "wrong"})
    answer = page.goto("/tasks")
    assert answer is not None and answer.status == 401
    page.context.close()


def test_a_requests_runs_and_stages_are_listed_by_name_with_its_id(flower: Page, site: Site, shots: Path) -> None:
    request_id, other = site.ask("0"), site.ask("0.1")
    for one in (request_id, other):
        until(lambda one=one: site.report(one)["state"] == "complete", "it has ended")
    flower.goto("/tasks")
    for name in ("sleeps", "answers", "counts"):
        mine = flower.get_by_role("row").filter(has_text=f"{APP}.{name}")
        expect(mine.filter(has_text=f"'request_id': '{request_id}'")).to_contain_text("SUCCESS")
        expect(mine).to_have_count(2)
    flower.screenshot(path=shots / "flower-tasks.png", full_page=True)
    flower.get_by_role("searchbox").fill(f"kwargs:request_id={request_id}")
    expect(flower.get_by_role("row").filter(has_text=APP)).to_have_count(3)


def test_a_task_terminated_on_its_page_is_a_cancelled_run(flower: Page, site: Site, shots: Path) -> None:
    request_id = site.ask("100")
    until(lambda: site.states(request_id) == {"sleeps": "running", "answers": "ok"}, "it runs")
    _task_of(flower, request_id, "sleeps")
    flower.screenshot(path=shots / "flower-task.png", full_page=True)
    flower.get_by_role("button", name="Terminate").click()
    expect(flower.get_by_role("status")).to_contain_text("Revoked")
    until(lambda: site.states(request_id) == {"sleeps": "cancelled", "answers": "ok"}, "its run is cancelled")
    report = until(lambda: (said := site.report(request_id))["state"] == "partial" and said, "the others' answer")
    assert report["result"] == 1


@pytest.mark.alone
def test_a_worker_shut_down_on_its_page_is_back_and_works(flower: Page, site: Site, shots: Path) -> None:
    (before,) = site.workers()
    flower.goto("/workers")
    flower.get_by_role("link", name="up-").click()
    flower.get_by_role("button", name="Actions").click()
    flower.screenshot(path=shots / "flower-worker.png", full_page=True)
    asked_s = time.monotonic()
    flower.get_by_role("button", name="Shut Down").click()
    site.up.prints("the worker ended with status 0: started again")
    site.up.prints(r"up-\S+ ready\.", times=2)
    assert time.monotonic() - asked_s < BACK_WITHIN_S
    assert site.workers().isdisjoint({before})
    request_id = site.ask("0")
    until(lambda: site.report(request_id)["state"] == "complete", "it works again")
    flower.goto("/workers")
    expect(flower.get_by_role("row").filter(has_text="up-")).to_contain_text("Online")
    flower.screenshot(path=shots / "flower-workers.png", full_page=True)
