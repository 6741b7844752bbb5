"""``config show``: what is set, who said so, and no password."""

from __future__ import annotations

import doctest
from typing import Any

from celery_collectors.cli import config
from tests.cli.conftest import Shell


def _settings(shell: Shell, *before: str) -> dict[str, dict[str, Any]]:
    said = shell.run(*before, "config", "show", "--json").json()
    assert said["version"] == 1
    return {row["name"]: row for row in said["settings"]}


def test_each_setting_says_where_it_comes_from(cold: Shell) -> None:
    cold.variables |= {"COLLECTORS_DEADLINE_S": "7"}
    rows = _settings(cold, "--app", "picky")
    assert (rows["deadline_s"]["value"], rows["deadline_s"]["from"]) == (7.0, "COLLECTORS_DEADLINE_S")
    assert rows["finish_s"]["from"] == "default"
    assert rows["queue"]["from"] == "the app's name"
    assert (rows["app"]["value"], rows["app"]["from"]) == ("picky", "--app")
    assert rows["broker"]["value"] == rows["ledger"]["value"] == "(the embedded engine's)"
    assert rows["home"]["value"] == str(cold.home)
    assert not cold.home.exists()


def test_what_the_code_says_is_named(cold: Shell) -> None:
    rows = _settings(cold, "--app", "set_in_code")
    assert (rows["shards"]["value"], rows["shards"]["from"]) == (2, "Collectors(…)")
    shown = cold.run("--app", "set_in_code", "config", "show", "--set").out
    assert "shards" in shown and "finish_s" not in shown


def test_no_password_is_shown(cold: Shell) -> None:
    cold.variables |= {
        "CELERY_BROKER_URL": "amqp://me:secret@host//",
        "COLLECTORS_LEDGER": "redis://host/0?password=secret",
    }
    rows = _settings(cold, "--app", "shop")
    assert (rows["broker"]["value"], rows["broker"]["from"]) == ("amqp://me:**@host//", "CELERY_BROKER_URL")
    assert rows["ledger"]["value"] == "redis://host/0?password=**"
    done = cold.run("--app", "shop", "--broker", "redis://:sec/ret@host/0", "config", "show")
    assert "sec" not in done.out.replace("second", "") + done.err
    assert doctest.testmod(config).failed == 0


def test_without_an_app_there_is_something_to_see_too(cold: Shell) -> None:
    done = cold.run("config", "show")
    assert (done.code, "no app is given; what its code sets is not shown" in done.err) == (0, True)
    assert "deadline_s" in done.out


def test_it_fits_a_narrow_terminal(cold: Shell) -> None:
    cold.variables["COLUMNS"] = "40"
    assert max(map(len, cold.run("--app", "shop", "config", "show").out.splitlines())) <= 40
