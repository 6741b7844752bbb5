"""The page in a real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.servers.fixtures import give_up
from tests.servers.server import Missing
from tests.web.conftest import Served, fresh, notes, project, served, urls, worker

__all__ = ["fresh", "notes", "project", "served", "urls", "worker"]  # fixtures

OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SHOTS = "COLLECTORS_TEST_SCREENSHOTS"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or whichever is called so."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        give_up(Missing("chromium is not here: apt install chromium"))
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=OPTIONS)
        yield running
        running.close()


class Watched:
    """What must not happen on any page.

    Attributes:
        errors: What the console and the pages complained of; a server that is away is no fault of the page.
        foreign: What was asked for elsewhere.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.errors: list[str] = []
        self.foreign: list[str] = []
        context.on("request", lambda one: None if one.url.startswith(url) else self.foreign.append(one.url))
        context.on("console", lambda one: self.errors.append(one.text) if one.type == "error" else None)
        context.on("weberror", lambda one: self.errors.append(str(one.error)))


def new_page(browser: Browser, url: str, **options: object) -> tuple[Page, Watched]:
    """A page of a browser of its own."""
    context = browser.new_context(base_url=url, **options)
    context.set_default_timeout(15_000)
    return context.new_page(), Watched(context, url)


@pytest.fixture
def page(browser: Browser, served: Served, worker: None) -> Iterator[Page]:
    """A page on which nothing goes wrong and to which nothing comes from elsewhere."""
    found, watched = new_page(browser, served.url)
    yield found
    found.context.close()
    assert watched.errors == []
    assert watched.foreign == []


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go; a person may name a folder, to look at them."""
    folder = Path(os.environ.get(SHOTS) or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
