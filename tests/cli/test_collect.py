"""``collect``: answers, and what they look like to a script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import UUID, Shell, until

REPORT_KEYS = {
    "version", "request_id", "topic", "state", "generation", "created_at", "deadline_at", "finished_at", "outcomes",
    "result", "error",
}  # fmt: skip
OUTCOME_KEYS = {"state", "attempts", "items", "bytes", "wait_s", "run_s", "worker", "error"}
NOWHERE = "slow:/nowhere/at/all"


def test_with_nothing_running_it_answers(cold: Shell) -> None:
    done = cold.start("--app", "shop", "collect", "fast:food").done()
    assert done.code == 0
    assert json.loads(done.out) == {
        "items": ["fast:food", "two", "fast:food"],
        "topic": "fast:food",
        "sign": "\x9b31m [red]é",
    }
    assert "quick: ok, 2 items" in done.err
    assert "2 of 2 answered" in done.err
    until(lambda: not cold.processes(), f"nothing is left running: {cold.processes()}")


def test_a_pipe_by_its_name_and_a_link_to_itself_can_be_written_to(warm: Shell, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "celery_collectors.cli", "--app", "shop", "collect", "fast:food", "-o"]
    piped = subprocess.run([*command, "/dev/stdout"], cwd=warm.project, env=warm.env, capture_output=True, check=True)
    assert json.loads(piped.stdout)["topic"] == "fast:food"
    (tmp_path / "loop").symlink_to("loop")
    assert warm.collect("fast:food", "-o", str(tmp_path / "loop")).code == 0
    assert json.loads((tmp_path / "loop").read_text(encoding="utf-8"))["topic"] == "fast:food"


def test_the_report_as_json_is_alone_on_stdout(warm: Shell) -> None:
    done = warm.collect("sour:grapes", "--json")
    report = done.json()
    assert done.code == 3
    assert set(report) == REPORT_KEYS
    assert (report["version"], report["state"], report["topic"]) == (1, "partial", "sour:grapes")
    assert list(report["outcomes"]) == ["quick", "sour"]
    assert all(set(outcome) == OUTCOME_KEYS for outcome in report["outcomes"].values())
    assert set(report["outcomes"]["sour"]["error"]) == {"type", "kind", "message", "retryable"}
    assert report["deadline_at"].endswith("Z")
    assert "running" not in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "state"),
    [
        (["fast:food"], 0, "complete"),
        (["none:such"], 0, "complete"),
        (["bad:luck"], 1, "failed"),
        (["sour:grapes"], 3, "partial"),
        (["sour:grapes", "--required", "sour"], 1, "failed"),
        (["sour:grapes", "--min-ok", "2"], 1, "failed"),
        (["sour:grapes", "-c", "quick"], 0, "complete"),
        (["fast:food", "--first", "1", "--priority", "high"], 0, "complete"),
        ([NOWHERE, "--deadline", "200ms"], 4, "failed"),
    ],
)
def test_the_exit_status_says_how_it_ended(warm: Shell, arguments: list[str], code: int, state: str) -> None:
    done = warm.collect(*arguments, "--json")
    assert (done.code, done.json()["state"]) == (code, state)


def test_without_a_process_stage_the_items_are_the_answer(cold: Shell) -> None:
    done = cold.run("--app", "plain:tasks", "collect", "abc")
    assert (done.code, json.loads(done.out)) == (0, ["a", "b", "c"])


def test_a_failed_request_prints_no_result_but_says_why(warm: Shell) -> None:
    done = warm.collect("bad:luck")
    assert (done.code, done.out) == (1, "")
    assert "sour" in done.err and "refused" in done.err
    assert done.err.count("PolicyNotMet") == 1
    assert not [line for line in done.err.splitlines() if line != line.rstrip()]


def test_what_sources_say_can_not_act_on_a_terminal(warm: Shell) -> None:
    done = warm.collect("sour:grapes")
    assert "\x1b" not in done.err + done.out
    assert "\x9b" not in done.err + done.out
    assert json.loads(done.out)["sign"] == "\x9b31m [red]é"


def test_the_answer_goes_to_a_file_whole(warm: Shell, tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text("an older one")
    done = warm.collect("fast:food", "-o", str(answer))
    assert (done.code, done.out) == (0, "")
    assert json.loads(answer.read_text(encoding="utf-8"))["topic"] == "fast:food"
    assert warm.collect("fast:food", "--json", "-o", str(answer)).code == 0
    assert set(json.loads(answer.read_text(encoding="utf-8"))) == REPORT_KEYS
    assert [path.name for path in tmp_path.iterdir()] == ["answer.json"]


def test_a_failure_leaves_an_older_file_alone(warm: Shell, tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text("an older one")
    assert warm.collect("bad:luck", "-o", str(answer)).code == 1
    assert answer.read_text() == "an older one"


def test_a_key_joins_the_request_that_has_it(warm: Shell) -> None:
    first, second = (warm.collect("fast:food", "--json", "--key", "k1").json() for _ in range(2))
    assert first == second


def test_two_at_once_share_one_engine(cold: Shell) -> None:
    both = [cold.start("--app", "shop", "collect", "fast:food", "--json") for _ in range(2)]
    reports = [running.done().json() for running in both]
    assert [report["state"] for report in reports] == ["complete", "complete"]
    assert (cold.home / "supervisor.log").read_text().count("Valkey started") == 1


def test_what_the_app_imported_is_not_looked_at_again_when_the_command_ends(cold: Shell) -> None:
    said = cold.start("--app", "looks_at_the_end", "list").done().err
    assert said == "collects\nleaves what was imported\n"


@pytest.mark.parametrize("reader", ["true", "head -c 1"])
def test_a_reader_that_leaves_early_is_no_error(warm: Shell, reader: str) -> None:
    command = f"{sys.executable} -P -m celery_collectors.cli --app shop collect fast:food 2>&1 | {reader}"
    done = warm.start_command(["bash", "-o", "pipefail", "-c", command]).done()
    assert done.code in (0, 141)
    assert "rror" not in done.err + done.out


@pytest.mark.parametrize("arguments", ["collect fast:food --json", "requests list", "list", "doctor", "config show"])
def test_stdout_that_is_closed_later_is_no_error(warm: Shell, arguments: str) -> None:
    command = f"{sys.executable} -P -m celery_collectors.cli --app shop {arguments} | true"
    done = warm.start_command(["bash", "-o", "pipefail", "-c", command]).done()
    assert done.code == 141
    assert "rror" not in done.err


def test_the_app_comes_from_the_environment_or_pyproject(warm: Shell, tmp_path: Path) -> None:
    warm.variables["COLLECTORS_APP"] = "shop"
    assert "quick" in warm.run("list").out
    del warm.variables["COLLECTORS_APP"]
    (tmp_path / "pyproject.toml").write_text('[tool.collectors]\napp = "plain"\n')
    (tmp_path / "plain.py").write_text((warm.project / "plain.py").read_text())
    assert "letters" in Shell(tmp_path, warm.home, warm.spare).run("list").out


def test_a_configured_broker_is_used_and_a_missing_worker_named(warm: Shell, ledger_url: str) -> None:
    servers = ("--broker", ledger_url, "--ledger", ledger_url.replace("=0", "=1"))
    done = warm.run("--app", "shop", *servers, "collect", "fast:food", "--deadline", "300ms")
    assert done.code == 4
    assert "no worker consumes the queue 'collectors.shop.v1'" in done.err
    assert "celery -A shop worker" in done.err
    waiting = warm.run("--app", "shop", *servers, "collect", "fast:food", "--detach").out
    assert UUID.fullmatch(waiting.strip())


def test_help_needs_neither_celery_nor_rich() -> None:
    loaded = "import sys, celery_collectors.cli; print([m for m in ('celery', 'redis', 'rich') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_explained_it_is_not_asked(warm: Shell) -> None:
    before = warm.run("--app", "shop", "requests", "list", "--json").json()
    done = warm.collect("fast:food", "--explain", "--json")
    assert done.code == 0
    plan = done.json()
    assert (plan["topic"], [run["name"] for run in plan["runs"]]) == ("fast:food", ["quick", "quick_too"])
    assert plan["runs"][1]["why"] == "async"
    shown = warm.collect("fast:FOOD", "--explain", "-c", "quick")
    assert shown.code == 0
    assert "quick" in shown.out
    assert "quick_too" not in shown.out
    assert warm.run("--app", "shop", "requests", "list", "--json").json() == before
    assert warm.collect("fast:f00d", "--explain").code == 2
