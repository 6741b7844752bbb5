"""Whatever is wrong: a line on stderr that says what to do next, nothing on stdout, the right exit status."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

FAST = ["--app", "shop", "collect", "fast:food"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["collect", "x"], "no app is given"),
        (["--app", "nope", "collect", "x"], "there is no module 'nope'"),
        (["--app", "nope.deep.er", "collect", "x"], "there is no module 'nope'"),
        (["--app", "shop:nope", "collect", "x"], "there is no Celery app in 'shop:nope'"),
        (["--app", "no_app", "collect", "x"], "there is no Celery app in 'no_app'"),
        (["--app", "./shop.py", "collect", "x"], "is a file.*\n.*--app shop$"),
        (["--app", "./shop", "collect", "x"], "is a file.*\n.*give --app shop$"),
        (["--app", "/srv/it/shop.py", "collect", "x"], "is a file.*\nhint: cd /srv/it, and give --app shop$"),
        (["--app", "..", "collect", "x"], "'..' is a folder, and an app is named as for import"),
        (["--app", "bare", "collect", "x"], "has no Collectors"),
        (["--app", "broken", "collect", "x"], "SyntaxError: .*broken.py, line 1"),
        (["--app", "missing_import", "collect", "x"], "a_package_that_nobody_has.*missing_import.py, line 1"),
        (["--app", "a_package_that_nobody_has_either", "collect", "x"], "ModuleNotFoundError: .*_either.py, line 1"),
        (["--app", "raises", "collect", "x"], "KeyError: 'token' .*raises.py, line 3"),
        (["--app", "leaves", "collect", "x"], "SystemExit: goodbye .*leaves.py, line 3"),
    ],
)
def test_an_app_that_is_not_there_or_not_whole(cold: Shell, arguments: list[str], says: str) -> None:
    _is_refused(cold, arguments, says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--app", "shop", "collect"], "Missing argument 'TOPIC'"),
        (["--app", "shop", "colect", "x"], "No such command 'colect'"),
        ([*FAST, "--app", "shop"], "--app comes before the command"),
        (["--json", *FAST], "what is a command's comes after it: collectors … --json"),
        ([*FAST, "--deadline", "3 days"], "30, 30s, 2m, 1h30m or 500ms"),
        ([*FAST, "--deadline", "0"], "deadline must be a number of seconds above 0"),
        ([*FAST, "--finish", "-1s"], "is not a duration"),
        ([*FAST, "--priority", "urgent"], "'urgent' is not one of"),
        ([*FAST, "--min-ok", "3"], "min_ok=3 can't be met: 2 are asked"),
        ([*FAST, "--first", "0"], "first=0 can't be met"),
        ([*FAST, "--required", "sour"], "'sour' is not among those asked"),
        ([*FAST, "-c", "nope"], "there is no collector 'nope'; there are"),
        ([*FAST, "-o", "/nowhere/at/all.json"], "can't be written: No such file or directory"),
        ([*FAST, "-o", "."], "can't be written: it is a folder"),
        ([*FAST, "--detach", "-o", "x"], "--detach has no answer to write"),
        ([*FAST[:2], "--ledger", "redis://127.0.0.1:1/0", *FAST[2:]], "--ledger is for a broker of your own"),
        ([*FAST[:2], "--broker", "redis://127.0.0.1:1/0", *FAST[2:]], "a broker is configured, but no ledger"),
        ([*FAST[:3], "unheard of"], "no collector takes the topic 'unheard of'; those declared take"),
        ([*FAST[:3], "fast:1"], "letters must follow fast:, as in fast:food"),
        ([*FAST[:3], ""], "the topic is empty"),
        ([*FAST[:3], "fast:\x1b[31m"], "control or other unprintable characters"),
        ([*FAST[:3], "fast:" + "x" * 600], "605 characters, and 512 is the limit"),
        (["--app", "shop", "requests", "show", "abc"], "too short for an id"),
        (["--app", "shop", "requests", "list", "--cursor", "abc"], "'abc' is not a cursor"),
        (["--app", "shop", "requests", "list", "--state", "odd"], "'odd' is not one of"),
        (["--app", "shop", "list", "--topic", "unheard of"], "no collector takes the topic"),
    ],
)
def test_a_question_that_can_not_be_asked(warm: Shell, arguments: list[str], says: str) -> None:
    _is_refused(warm, arguments, says)


def _is_refused(shell: Shell, arguments: list[str], says: str) -> None:
    done = shell.run(*arguments)
    assert (done.code, done.out) == (2, "")
    lines = [line for line in done.err.splitlines() if line != "this must not get into anybody's JSON"]
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:]), lines
    assert re.search(says, done.err), done.err
    assert "\x1b" not in done.err


@pytest.mark.parametrize(
    "servers",
    [
        {"COLLECTORS_BROKER": "redis://127.0.0.1:1/0", "COLLECTORS_LEDGER": "redis://127.0.0.1:1/1"},
        {"CELERY_BROKER_URL": "amqp://u:pw@127.0.0.1:1//", "COLLECTORS_LEDGER": "redis://127.0.0.1:1/1"},
    ],
)
def test_a_broker_that_is_down(cold: Shell, servers: dict[str, str]) -> None:
    cold.variables.update(servers)
    done = cold.collect("fast:food")
    assert (done.code, done.out) == (5, "")
    assert "error: the broker at" in done.err
    assert "pw" not in done.err
    assert not cold.home.exists()


@pytest.mark.parametrize(
    ("broker", "ledger", "says"),
    [
        ("redis://:sec/ret@127.0.0.1/0", "redis://127.0.0.1:1/1", "the broker's URL can't be read"),
        ("amqp://u:sec#ret@127.0.0.1//", "redis://127.0.0.1:1/1", "the broker's URL can't be read"),
        ("nope://u:secret@127.0.0.1", "redis://127.0.0.1:1/1", "No such transport: nope"),
        ("redis://127.0.0.1:1/0", "redis://:sec/ret@127.0.0.1/1", "the ledger's URL can't be read"),
    ],
)
def test_a_url_that_can_not_be_read_is_not_quoted(cold: Shell, broker: str, ledger: str, says: str) -> None:
    servers = ["--app", "shop", "--broker", broker, "--ledger", ledger]
    _is_refused(cold, [*servers, "collect", "fast:food"], says)
    doctor = cold.run(*servers, "doctor")
    assert says in doctor.out
    assert "sec" not in doctor.out + doctor.err + cold.run(*servers, "collect", "fast:food").err


def test_a_stdout_without_room(warm: Shell) -> None:
    running = warm.start_command(
        ["/bin/sh", "-c", f"{sys.executable} -P -m celery_collectors.cli {' '.join(FAST)} >/dev/full"]
    )
    done = running.done()
    assert done.code == 1
    assert "error: stdout can't be written to: No space left on device\nhint: " in done.err
    assert "note: the answer is kept: " in done.err


def test_a_stdout_without_room_for_a_table(cold: Shell) -> None:
    command = f"{sys.executable} -P -m celery_collectors.cli --app shop list >/dev/full"
    done = cold.start_command(["/bin/sh", "-c", command]).done()
    assert done.code == 1
    assert "error: no room is left: [Errno 28] No space left on device\nhint: send it" in done.err


def test_a_ledger_that_is_down(cold: Shell, ledger_url: str) -> None:
    done = cold.run(
        "--app", "shop", "--broker", ledger_url, "--ledger", "redis://127.0.0.1:1/1", "collect", "fast:food"
    )
    assert (done.code, done.out) == (5, "")
    assert "error: the ledger at redis://127.0.0.1:1/1 can't be used" in done.err


def test_a_home_that_can_not_be_used(cold: Shell, tmp_path: Path) -> None:
    cold.variables["COLLECTORS_HOME"] = str(tmp_path / ("x" * 200))
    done = cold.collect("fast:food")
    assert (done.code, done.out) == (5, "")
    assert "set COLLECTORS_HOME to a shorter folder" in done.err


def test_a_folder_that_is_gone(cold: Shell, tmp_path: Path) -> None:
    command = f"cd {tmp_path} && mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} -P -m"
    for arguments in ("--app shop list", "--app shop requests list", "--app shop up --no-web --no-flower"):
        done = cold.start_command(["/bin/sh", "-c", f"{command} celery_collectors.cli {arguments}"]).done()
        assert (done.code, done.out) == (2, "")
        assert done.err == "error: the current folder is not there any more\nhint: change to one that is: cd\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["web", "--host", "nowhere.invalid"], "choose another with --port, or mend --host"),
        (["flower", "--host", "nowhere.invalid"], "choose another with --port, or mend --host"),
    ],
)
def test_a_host_that_is_not_here(cold: Shell, arguments: list[str], hint: str) -> None:
    done = cold.run("--app", "shop", *arguments)
    assert (done.code, done.out) == (1, "")
    assert re.search("on nowhere.invalid: [A-Z].* (known|resolution)", done.err), done.err
    assert done.err.splitlines()[1:] == [f"hint: {hint}"]


def test_nothing_is_started_for_an_app_that_is_not_there(cold: Shell) -> None:
    assert cold.run("--app", "nope", "collect", "x").code == 2
    assert not cold.home.exists()


def test_debug_shows_the_traceback(cold: Shell) -> None:
    running = cold.start("--debug", "--app", "broken", "list")
    assert running.process.wait(30) == 2
    assert "Traceback" in running.err
    assert "error: the app 'broken' can't be imported" in running.err
