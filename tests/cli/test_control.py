"""``requests cancel``, ``retry`` and ``priority``: what they do, what they print, how they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import UUID, Shell
from tests.cli.test_under_celery import CELERY
from tests.cli.test_under_celery import pytestmark as installed

SHOP = ("--app", "shop", "requests")


def test_what_failed_is_tried_again_and_the_new_answer_is_printed(warm: Shell, tmp_path: Path) -> None:
    topic = f"mend:{tmp_path / 'mended'}"
    asked = warm.collect(topic, "--json")
    assert (asked.code, asked.json()["state"]) == (3, "partial")
    request_id = asked.json()["request_id"]
    (tmp_path / "mended").touch()
    done = warm.run(*SHOP, "retry", request_id[:8])
    assert done.code == 0, done.err
    assert done.json()["items"] == ["steady", "mended"]
    for said in ("generation 2: mends", "mends: running, attempt 2", "complete  2 of 2 answered"):
        assert said in done.err
    assert "steady: running" not in done.err, "it is not asked again, and what it did before is over"
    report = warm.show(request_id)
    assert (report["generation"], report["outcomes"]["steady"]["attempts"]) == (2, 1)


def test_named_and_with_a_deadline_the_report_as_json(warm: Shell, tmp_path: Path) -> None:
    request_id = warm.collect(f"mend:{tmp_path / 'never'}", "--json").json()["request_id"]
    done = warm.run(*SHOP, "retry", request_id, "-c", "mends", "--deadline", "20s", "--finish", "5s", "--json")
    assert (done.code, done.json()["state"], done.json()["generation"]) == (3, "partial", 2)
    assert "generation" not in done.err
    left = warm.run(*SHOP, "retry", request_id, "--detach", "--json")
    assert (left.code, left.json()["generation"], left.json()["runs"], left.json()["left"]) == (0, 3, ["mends"], [])


@pytest.mark.parametrize(
    ("topic", "options", "says"),
    [
        ("sour:grapes", [], "trying again can't help|that can't help sour: PermanentError: refused"),
        ("sour:grapes", ["--only", "sour"], "trying sour again can't help: PermanentError: refused"),
        ("sour:grapes", ["--only", "quick"], r"quick has answered \(ok\)"),
        ("sour:grapes", ["--only", "nobody"], "has no run 'nobody'; it has quick, sour"),
        ("fast:food", [], "is complete, and nothing of it failed"),
        ("sour:grapes", ["--deadline", "soon"], "'soon' is not a duration"),
        ("sour:grapes", ["--failed", "-c", "sour"], "--failed and -c ask for different runs"),
        ("sour:grapes", ["--collector", "nobody"], "has no run 'nobody'; it has quick, sour"),
        ("sour:grapes", ["--detach", "-o", "file"], "--detach has no answer to write"),
    ],
)
def test_a_retry_that_can_not_be_is_refused_in_one_line(warm: Shell, topic: str, options: list[str], says: str) -> None:
    import re

    request_id = warm.collect(topic, "--json").json()["request_id"]
    done = warm.run(*SHOP, "retry", request_id, *options)
    assert (done.code, done.out) == (2, "")
    assert re.search(says, done.err), done.err
    assert done.err.count("error: ") == 1


def test_with_force_what_was_mended_since_is_tried(warm: Shell) -> None:
    request_id = warm.collect("sour:grapes", "--json").json()["request_id"]
    done = warm.run(*SHOP, "retry", request_id, "--force", "--json")
    assert (done.code, done.json()["outcomes"]["sour"]["attempts"]) == (3, 2)


def test_a_request_is_cancelled_and_says_who_and_why(warm: Shell, tmp_path: Path) -> None:
    left = warm.collect(f"slow:{tmp_path / 'never'}", "--detach")
    request_id = left.out.strip()
    assert UUID.fullmatch(request_id)
    done = warm.run(*SHOP, "cancel", request_id, "--reason", "wrong shop")
    assert (done.code, done.out.strip()) == (0, f"{request_id}: cancelled")
    message = warm.show(request_id)["error"]["message"]
    assert message.startswith("cancelled by ") and message.endswith(": wrong shop")
    again = warm.run(*SHOP, "cancel", request_id, "--json")
    assert (again.code, again.json()) == (0, {"version": 1, "request_id": request_id, "state": "cancelled"})
    assert "was cancelled, and stays so" in warm.run(*SHOP, "retry", request_id).err


def test_what_has_ended_is_not_cancelled_any_more(warm: Shell) -> None:
    request_id = warm.collect("fast:food", "--json").json()["request_id"]
    done = warm.run(*SHOP, "cancel", request_id)
    assert (done.code, done.out.strip()) == (0, f"{request_id}: it was complete already")


def test_a_request_gets_another_priority(warm: Shell, tmp_path: Path) -> None:
    request_id = warm.collect(f"slow:{tmp_path / 'go'}", "--detach").out.strip()
    done = warm.run(*SHOP, "priority", request_id, "high", "--json")
    said = {"version": 1, "request_id": request_id, "state": "collecting", "priority": "high"}
    assert (done.code, done.json()) == (0, said)
    assert warm.run(*SHOP, "priority", request_id, "low").out.strip() == f"{request_id}: low"
    assert "collecting, priority low" in warm.run(*SHOP, "show", request_id, "--events").out
    refused = warm.run(*SHOP, "priority", request_id, "urgent")
    assert (refused.code, "'urgent' is not one of" in refused.err) == (2, True)
    warm.run(*SHOP, "cancel", request_id)
    over = warm.run(*SHOP, "priority", request_id, "high")
    assert (over.code, "is cancelled: nothing of it waits any more" in over.err) == (2, True)


@pytest.mark.parametrize("command", [["cancel"], ["retry"], ["priority"]])
def test_an_unknown_request_is_not_found(warm: Shell, command: list[str]) -> None:
    level = ["high"] if command == ["priority"] else []
    done = warm.run(*SHOP, *command, "00000000-0000-4000-8000-000000000000", *level)
    assert (done.code, done.out) == (6, "")
    assert "error: the ledger holds no request" in done.err


@installed
def test_the_same_under_celery(warm: Shell, tmp_path: Path) -> None:
    request_id = warm.collect(f"mend:{tmp_path / 'mended'}", "--json").json()["request_id"]
    (tmp_path / "mended").touch()
    ours = ("-A", "shop", "collectors", "requests")
    done = warm.start(*ours, "retry", request_id, "--json", program=CELERY).done()
    assert (done.code, '"state": "complete"' in done.out) == (0, True)
    done = warm.start(*ours, "cancel", request_id, program=CELERY).done()
    assert (done.code, "it was complete already" in done.out) == (0, True)
