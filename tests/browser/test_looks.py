"""How the page bears what comes: much, long, hostile, running, failed. A machine checks what it can; a person looks
at the screenshots, for which ``COLLECTORS_TEST_SCREENSHOTS`` names a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from celery_collectors import Collectors
from tests.browser.conftest import new_page
from tests.browser.test_page import AXE, CHECK, asked
from tests.integration.conftest import until
from tests.web.conftest import Served

LONG = "W" + "i" * 60 + " <img src=x onerror=alert(1)> " + "long" * 90 + " hostile"


@pytest.fixture(scope="module")
def linked(project: Collectors, worker: None) -> Iterator[Served]:
    """A server that links to a Flower, which nobody follows here."""
    server = Served(project, flower="http://127.0.0.1:5555")
    yield server
    server.stop()


@pytest.fixture(params=[(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)], ids=str)
def seen(
    request: pytest.FixtureRequest, browser: Browser, linked: Served, shots: Path
) -> Iterator[Callable[..., None]]:
    """Looks at a page in one colour and width."""
    scheme, width = request.param
    page, watched = new_page(
        browser, linked.url, color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True
    )
    page.on("dialog", lambda _: pytest.fail("a script ran"))

    def look(name: str, path: str, until_there: Callable[[Page], None] = lambda _: None) -> None:
        page.goto(path)
        until_there(page)
        page.add_script_tag(path=AXE)
        assert page.evaluate(CHECK) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.screenshot(path=shots / f"{name}-{scheme}-{width}.png", full_page=True)

    yield look
    page.context.close()
    assert (watched.errors, watched.foreign) == ([], [])


def test_what_runs(seen: Callable[..., None], project: Collectors) -> None:
    request_id = asked(project, "gated flaky", wait=False, deadline=40)
    until(lambda: project.get(request_id).report().outcomes["flaky"].attempts > 1, "it was tried again")
    seen("running", f"/requests/{request_id}", _opened("gated"))


def test_what_failed(seen: Callable[..., None], project: Collectors) -> None:
    request_id = asked(project, "permanent mend flaky", deadline=2, min_ok=2)
    seen("failed", f"/requests/{request_id}", _opened("permanent"))


def test_a_hundred_collectors(seen: Callable[..., None], project: Collectors) -> None:
    request_id = asked(project, "wide", deadline=60)
    seen("wide", f"/requests/{request_id}", _over_time)


def test_a_long_and_hostile_topic(seen: Callable[..., None], project: Collectors) -> None:
    request_id = asked(project, LONG)
    seen("hostile", f"/requests/{request_id}", _opened("hostile"))
    seen("hostile-list", "/")


def test_an_earlier_generation(seen: Callable[..., None], project: Collectors, notes: Path) -> None:
    request_id = asked(project, "mend earlier")
    (notes / "mended").touch()
    project.get(request_id).retry()
    project.get(request_id).wait(20)
    seen("past", f"/requests/{request_id}?generation=1")
    seen("mended", f"/requests/{request_id}")


def _opened(name: str) -> Callable[[Page], None]:
    def opened(page: Page) -> None:
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.locator("tr.more:not([hidden]) dl")).to_be_visible()

    return opened


def _over_time(page: Page) -> None:
    page.get_by_text("Each collector over time").click()
    expect(page.locator("svg.trend").first).to_be_visible()
