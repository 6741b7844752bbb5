"""``show`` and ``test``: one collector, looked at and tried in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shell

SHOP = ("--app", "shop")


def test_items_time_and_state_are_shown_without_any_server(cold: Shell) -> None:
    done = cold.run(*SHOP, "test", "quick", "fast:FOOD")
    assert (done.code, done.out) == (0, '[\n  "fast:food",\n  "two"\n]\n')
    assert "✓ ok  quick: 2 items in " in done.err
    assert not cold.home.exists()
    assert cold.run(*SHOP, "collectors", "test", "quick_too", "fast:food").out == '[\n  "fast:food"\n]\n'
    assert cold.run(*SHOP, "test", "nothing", "none:x").err.endswith(" s\n")


def test_one_that_fails_shows_where(cold: Shell) -> None:
    done = cold.run(*SHOP, "test", "sour", "sour:grapes", "--json")
    assert done.code == 1
    said = done.json()
    assert (said["version"], said["name"], said["items"], said["outcome"]["state"]) == (1, "sour", [], "failed")
    assert said["outcome"]["error"]["type"] == "PermanentError"
    running = cold.start(*SHOP, "test", "sour", "sour:grapes")
    assert running.process.wait(30) == 1
    assert 'shop.py", line' in running.err and "celery_collectors" not in running.err.partition("PermanentError")[0]
    assert "✗ failed  sour: PermanentError: refused" in running.err
    assert "\x1b" not in running.err and "\x9b" not in running.err


def test_one_runs_into_its_own_time_limit_and_is_not_tried_again(cold: Shell, tmp_path: Path) -> None:
    cold.variables["COLLECTORS_TIMEOUT_S"] = "0.3"
    done = cold.run(*SHOP, "test", "slow", f"slow:{tmp_path / 'never'}", "--json")
    assert (done.code, done.json()["outcome"]["state"], done.json()["outcome"]["attempts"]) == (1, "timed_out", 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["test", "nobody", "fast:food"], "there is no collector 'nobody'; there are"),
        (["test", "quick", "none:x"], "collector 'quick' takes topics like fast:*, sour:*, not 'none:x'"),
        (["test", "quick", "fast:1"], "letters must follow fast:"),
        (["test", "quick"], "Missing argument 'TOPIC'"),
        (["show", "nobody"], "there is no collector 'nobody'; there are quick"),
    ],
)
def test_what_can_not_be_tried(cold: Shell, arguments: list[str], says: str) -> None:
    done = cold.run(*SHOP, *arguments)
    assert (done.code, done.out, says in done.err) == (2, "", True), done.err


def test_one_is_shown_with_its_origin(cold: Shell) -> None:
    said = cold.run(*SHOP, "show", "quick_too", "--json").json()["collector"]
    assert (said["task"], said["kind"], said["retries"], said["timeout_s"]) == ("shop.quick_too", "async", 1, 5.0)
    assert Path(said["file"]).name == "shop.py" and said["line"] > 1
    shown = cold.run(*SHOP, "show", "quick").out
    assert "And this line is not for lists." in shown and "fast:*, sour:*" in shown
