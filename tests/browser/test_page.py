"""What a person does on the page, and how it looks."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from celery_collectors import Collectors
from celery_collectors.web.keys import make_key
from celery_collectors.web.look import HERE
from tests.browser.conftest import new_page
from tests.integration.conftest import until
from tests.web.conftest import Served

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
CHECK = """async () => {
  const found = await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]});
  return found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`);
}"""

TURN = """(hidden) => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def asked(project: Collectors, topic: str, *, wait: bool = True, **more: float) -> str:
    request = project.request(topic, **more)
    if wait:
        request.wait(20)
    return request.id


def test_a_topic_is_asked_for_and_its_page_follows_it_to_the_end(page: Page, notes: Path, shots: Path) -> None:
    page.goto("/")
    page.get_by_label("Topic", exact=True).fill("gated by hand")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("heading", name="gated by hand")).to_be_visible()
    expect(page.locator("#badge")).to_have_text("● live")
    expect(page.locator("svg[data-row=gated] .running")).to_be_visible()
    page.screenshot(path=shots / "running.png", full_page=True)
    (notes / "gate").touch()
    expect(page.locator(".facts .state")).to_have_text("✓ complete")
    expect(page.locator("#badge")).to_be_hidden()
    expect(page.get_by_role("link", name="Result as JSON")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_hidden()
    expect(page.locator("svg[data-row=process] .ok")).to_be_attached()
    page.screenshot(path=shots / "complete.png", full_page=True)


def test_the_timeline_of_what_runs_moves(page: Page, project: Collectors) -> None:
    page.goto(f"/requests/{asked(project, 'gated clock', wait=False)}")
    now = page.locator("svg[data-row=gated] .now")
    before = now.get_attribute("x1")
    expect(now).not_to_have_attribute("x1", before or "")
    expect(page.locator("svg[data-row=gated] .deadline")).to_be_attached()


def test_a_pause_before_a_retry_is_a_gap(page: Page, project: Collectors, shots: Path) -> None:
    page.goto(f"/requests/{asked(project, 'gated flaky', wait=False)}")
    expect(page.locator("svg[data-row=flaky] .gap").nth(1)).to_be_attached()
    page.screenshot(path=shots / "retrying.png", full_page=True)


def test_what_runs_is_cancelled_with_a_reason(page: Page, project: Collectors) -> None:
    page.goto(f"/requests/{asked(project, 'gated cancel', wait=False)}")
    page.get_by_label("Reason").fill("<b>enough</b>")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator(".facts .state")).to_have_text("⊘ cancelled")
    expect(page.get_by_text("cancelled: <b>enough</b>")).to_be_visible()


def test_what_waits_is_given_another_level(page: Page, project: Collectors) -> None:
    request_id = asked(project, "gated level", wait=False)
    page.goto(f"/requests/{request_id}")
    page.locator("select[name=level]").select_option("high")
    page.get_by_role("button", name="Set priority").click()
    expect(page.locator("#badge")).to_have_text("● live")
    assert "high" in [event.priority for event in project.get(request_id).happened()]


@pytest.mark.parametrize("button", ["Retry what failed", "Retry mends"])
def test_what_failed_is_tried_again(page: Page, project: Collectors, notes: Path, shots: Path, button: str) -> None:
    page.goto(f"/requests/{asked(project, 'mend')}")
    expect(page.get_by_text("Finished, 1 of 2 failed; what the others gave is kept.")).to_be_visible()
    page.get_by_role("link", name="mends", exact=True).click()
    expect(page.get_by_text("Traceback (most recent call last)")).to_be_visible()
    page.screenshot(path=shots / "partial.png", full_page=True)
    (notes / "mended").touch()
    page.get_by_role("button", name=button).click()
    expect(page.locator(".facts .state")).to_have_text("✓ complete")
    expect(page.get_by_text("generation 2")).to_be_visible()
    page.get_by_role("link", name="Generation 1").click()
    expect(page.locator(".facts .state")).to_have_text("◐ partial")
    expect(page.locator("svg[data-row=mends] .failed")).to_be_visible()
    expect(page.get_by_role("row", name="mends")).to_contain_text("ConnectionError: reset by <b>peer</b>")
    page.screenshot(path=shots / "past.png", full_page=True)
    page.get_by_role("link", name="The request as it is now").click()
    expect(page.locator(".facts .state")).to_have_text("✓ complete")


def test_what_was_mended_is_tried_again_although_its_error_says_it_cant_help(
    browser: Browser, served: Served, project: Collectors, worker: None
) -> None:
    page, _ = new_page(browser, served.url)  # the refusal is a 409, of which the console complains
    page.goto(f"/requests/{asked(project, 'permanent')}")
    page.get_by_role("button", name="Retry permanent").click()
    expect(page.get_by_role("alert")).to_contain_text("can't help")
    page.get_by_label("permanent was mended since").check()
    page.get_by_role("button", name="Retry permanent").click()
    expect(page.get_by_text("generation 2")).to_be_visible()
    page.context.close()


def test_a_row_opens_what_is_known_of_it(page: Page, project: Collectors, notes: Path, shots: Path) -> None:
    page.goto(f"/requests/{asked(project, 'gated hostile', wait=False)}")
    link = page.get_by_role("link", name="gated", exact=True)
    link.press("Enter")
    opened = page.locator("#row-1")
    expect(opened).to_contain_text("tests.web.gallery.gated on collectors.gallery")
    expect(link).to_have_attribute("aria-expanded", "true")
    expect(page.locator("svg[data-row=gated] .running")).to_be_visible()
    (notes / "gate").touch()
    expect(page.locator(".facts .state").first).to_have_text("✓ complete")
    expect(opened).to_contain_text('"through"')  # it is renewed with its run, and stays open
    page.get_by_role("link", name="hostile", exact=True).click()
    expect(page.locator("#row-2")).to_contain_text("</pre><script>alert(1)</script>")
    page.screenshot(path=shots / "opened.png", full_page=True)
    link.click()
    expect(opened).to_be_hidden()
    expect(link).to_have_attribute("aria-expanded", "false")
    assert page.locator("main script").count() == 0


def test_how_long_each_took_lately_is_opened_with_this_run_marked(page: Page, project: Collectors, shots: Path) -> None:
    for _ in range(3):
        request_id = asked(project, "flow permanent")
    page.goto(f"/requests/{request_id}")
    expect(page.locator("svg.share rect")).to_have_attribute("width", "100.0")
    page.get_by_text("Each collector over time").click()
    expect(page.locator("svg.trend .dot")).to_have_count(2)
    expect(page.locator("svg.trend").first).to_have_attribute("aria-label", re.compile("steady, the oldest first"))
    page.screenshot(path=shots / "over-time.png", full_page=True)


def test_a_result_is_downloaded(page: Page, project: Collectors) -> None:
    page.goto(f"/requests/{asked(project, 'many lines')}")
    with page.expect_download() as found:
        page.get_by_role("link", name="Items, one a line").click()
    assert len(Path(found.value.path()).read_text().splitlines()) == 3001
    with page.expect_download() as found:
        page.get_by_role("link", name="Result as JSON").click()
    assert Path(found.value.path()).read_text() == '{"items":3001}'


def test_ticked_requests_are_cancelled_and_tried_again_together(page: Page, project: Collectors) -> None:
    running = [asked(project, f"gated bulk {number}", wait=False) for number in range(2)]
    page.goto("/?topic=gated+bulk")
    for request_id in running:
        page.locator(f"#tick-{request_id}").check()
    page.get_by_role("button", name="Cancel ticked").click()
    expect(page.locator("td .state", has_text="cancelled")).to_have_count(2)
    expect(page).to_have_url(re.compile(r"/\?topic=gated\+bulk$"))
    assert {project.get(one).state for one in running} == {"cancelled"}
    failed = asked(project, "mend bulk")
    page.goto("/")
    page.locator(f"#tick-{failed}").check()
    page.get_by_role("button", name="Retry ticked").click()
    expect(page).to_have_url(re.compile(r"/$"))
    assert project.get(failed).report().generation == 2


def test_a_tick_stays_while_the_list_is_renewed(page: Page, project: Collectors) -> None:
    request_id = asked(project, "ticked")
    page.goto("/")
    page.locator(f"#tick-{request_id}").check()
    asked(project, "one more")
    expect(page.get_by_role("link", name="one more").first).to_be_visible()
    expect(page.locator("#badge")).to_have_text("● live")
    expect(page.locator(f"#tick-{request_id}")).to_be_checked()


def test_what_others_style_is_not_copied_which_the_policy_would_block(page: Page, project: Collectors) -> None:
    request_id = asked(project, "styled by an extension")
    page.goto("/")
    tick = page.locator(f"#tick-{request_id}")
    tick.evaluate("one => { one.style.color = 'red'; one.dataset.old = 'yes'; }")
    asked(project, "and renewed")
    expect(tick).not_to_have_attribute("data-old", "yes")


def test_the_list_follows_what_is_asked_and_what_becomes_of_it(page: Page, project: Collectors, notes: Path) -> None:
    page.goto("/?topic=seen+live")
    expect(page.get_by_text("No requests that match.")).to_be_visible()
    asked(project, "gated seen live", wait=False)
    row = page.get_by_role("row", name="gated seen live").first
    expect(row).to_contain_text("▶ collecting")
    (notes / "gate").touch()
    expect(row).to_contain_text("✓ complete")


def test_the_list_says_when_the_server_is_away_and_back(browser: Browser, project: Collectors, worker: None) -> None:
    server = Served(project)
    page, _ = new_page(browser, server.url)
    page.goto("/")
    expect(page.locator("#badge")).to_have_text("● live")
    server.stop()
    expect(page.locator("#badge")).to_have_text("○ reconnecting")
    asked(project, "while it was away")
    again = Served(project, port=server.port)
    expect(page.locator("#badge")).to_have_text("● live", timeout=30_000)
    expect(page.get_by_role("link", name="while it was away").first).to_be_visible()
    page.context.close()
    again.stop()


def test_the_list_is_filtered_by_its_url(page: Page, project: Collectors, shots: Path) -> None:
    asked(project, "apples")
    asked(project, "permanent apples")
    page.goto("/")
    page.get_by_label("Topic has").fill("apples")
    page.get_by_label("State").select_option("partial")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile("topic=apples&state=partial"))
    expect(page.locator("tbody .topic a")).to_have_text(["permanent apples"])
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_role("link", name="apples", exact=True)).to_be_visible()
    page.screenshot(path=shots / "list.png", full_page=True)


def test_a_topic_that_cant_be_asked_for_says_why(browser: Browser, served: Served, worker: None) -> None:
    page, _ = new_page(browser, served.url)
    page.goto("/")
    page.get_by_label("Topic", exact=True).fill("strict:123")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("alert")).to_contain_text("letters must follow strict:")
    page.goto("/requests/00000000-0000-0000-0000-000000000000")
    expect(page.get_by_role("alert")).to_contain_text("holds no request")
    page.context.close()


def test_collectors_show_how_they_did(page: Page, project: Collectors, shots: Path) -> None:
    asked(project, "permanent list")
    page.goto("/")
    page.get_by_role("link", name="Collectors").click()
    row = page.get_by_role("row").filter(has=page.get_by_text("permanent", exact=True))
    expect(row).to_contain_text("the key was revoked")
    page.screenshot(path=shots / "collectors.png", full_page=True)


def test_what_others_write_is_shown_as_text(page: Page, project: Collectors) -> None:
    topic = "<script>alert(1)</script><img src=x onerror=alert(2)> nothing"
    request_id = asked(project, topic)
    page.on("dialog", lambda _: pytest.fail("a script ran"))
    page.goto("/")
    expect(page.get_by_role("link", name=topic)).to_be_visible()
    page.goto(f"/requests/{request_id}")
    expect(page.get_by_role("heading", name=topic)).to_be_visible()
    page.get_by_text("First items (1)").click()
    expect(page.locator("#items")).to_contain_text("<script>alert(1)</script>")
    assert page.locator("main script, main img").count() == 0


def test_the_badge_says_when_the_server_is_away_and_back(
    browser: Browser, project: Collectors, worker: None, notes: Path
) -> None:
    server = Served(project)
    page, _ = new_page(browser, server.url)
    page.goto(f"/requests/{asked(project, 'gated restart', wait=False)}")
    expect(page.locator("#badge")).to_have_text("● live")
    server.stop()
    expect(page.locator("#badge")).to_have_text("○ reconnecting")
    again = Served(project, port=server.port)
    expect(page.locator("#badge")).to_have_text("● live", timeout=30_000)
    (notes / "gate").touch()
    expect(page.locator(".facts .state")).to_have_text("✓ complete")
    page.context.close()
    again.stop()


def test_a_stream_that_is_refused_is_asked_for_again(
    browser: Browser, served: Served, project: Collectors, worker: None
) -> None:
    page, _ = new_page(browser, served.url)
    page.route("**/events", lambda route: route.fulfill(status=503), times=1)
    page.goto(f"/requests/{asked(project, 'gated refused', wait=False)}")
    expect(page.locator("#badge")).to_have_text("○ reconnecting")
    expect(page.locator("#badge")).to_have_text("● live")
    page.context.close()


def test_a_page_that_nobody_sees_holds_no_connection(
    browser: Browser, project: Collectors, worker: None, notes: Path
) -> None:
    server = Served(project)
    page, _ = new_page(browser, server.url)
    page.goto(f"/requests/{asked(project, 'gated unseen', wait=False)}")
    expect(page.locator("#badge")).to_have_text("● live")
    page.evaluate(TURN, True)
    until(lambda: not server.server.server_state.tasks, "its stream is closed, and did not just end", within_s=10)
    (notes / "gate").touch()
    page.evaluate(TURN, False)
    expect(page.locator(".facts .state")).to_have_text("✓ complete")
    expect(page.locator("#badge")).to_be_hidden()
    page.context.close()
    server.stop()


def test_a_browser_that_was_given_the_key_follows_what_runs(
    browser: Browser, project: Collectors, worker: None, notes: Path, tmp_path: Path
) -> None:
    key, line = make_key("ann")
    (tmp_path / "keys").write_text(line)
    server = Served(project, keys=tmp_path / "keys")
    page, watched = new_page(browser, server.url, http_credentials={"username": "ann", "password": key})
    page.goto(f"/requests/{asked(project, 'gated key', wait=False)}")
    expect(page.locator("#badge")).to_have_text("● live")
    (notes / "gate").touch()
    expect(page.locator(".facts .state")).to_have_text("✓ complete")
    page.context.close()
    server.stop()
    assert watched.errors == []


def test_everything_is_there_without_javascript(
    browser: Browser, served: Served, project: Collectors, worker: None
) -> None:
    page, watched = new_page(browser, served.url, java_script_enabled=False)
    page.goto("/")
    page.get_by_label("Topic", exact=True).fill("gated without")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("svg[data-row=gated]")).to_be_visible()
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator(".facts .state")).to_have_text("⊘ cancelled")
    page.get_by_text("Each collector over time").click()
    page.get_by_role("link", name="How long each has taken lately").click()
    expect(page.locator("svg.trend").first).to_be_visible()
    page.go_back()
    page.get_by_role("link", name="steady", exact=True).click()
    expect(page).to_have_url(re.compile(r"/rows/0$"))
    expect(page.get_by_role("heading", name="steady")).to_be_visible()
    assert (watched.errors, watched.foreign) == ([], [])
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_accessible_and_fit(
    browser: Browser, served: Served, project: Collectors, worker: None, shots: Path, scheme: str, width: int
) -> None:
    request_id = asked(project, "mend permanent " + "long" * 30)
    page, watched = new_page(
        browser, served.url, color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True
    )
    for name, path in (
        ("list", "/"),
        ("one", f"/requests/{request_id}"),
        ("row", f"/requests/{request_id}/rows/1"),
        ("over-time", f"/requests/{request_id}/over-time"),
        ("collectors", "/collectors"),
        ("workers", "/workers?asked=w%40web"),
    ):
        page.goto(path)
        page.add_script_tag(path=AXE)
        assert page.evaluate(CHECK) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.screenshot(path=shots / f"{name}-{scheme}-{width}.png", full_page=True)
    assert (watched.errors, watched.foreign) == ([], [])
    page.context.close()


def test_it_is_used_by_keyboard(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    for _ in range(4):
        page.keyboard.press("Tab")
    expect(page.get_by_label("Topic", exact=True)).to_be_focused()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="by keyboard")).to_be_visible()


def test_nothing_inline_may_run(served: Served) -> None:
    policy = httpx.get(served.url).headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy


def test_what_is_vendored_is_what_it_says() -> None:
    static = HERE / "static"
    hashed = hashlib.sha256((static / "htmx.min.js").read_bytes()).hexdigest()
    assert (static / "htmx.min.js.sha256").read_text() == f"{hashed}  htmx.min.js\n"
