"""Completion as it is in a shell: a real bash, in which what ``collectors completion`` printed was run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Shell, until

BASH = shutil.which("bash")
PRESSED = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_collectors_completion collectors  # as bash calls it
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def bash(warm: Shell, tmp_path: Path) -> Shell:
    """A shell in which ``collectors`` is a command, and is completed."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    command = bin_folder / "collectors"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m celery_collectors.cli "$@"\n')
    command.chmod(0o755)
    warm.variables["PATH"] = f"{bin_folder}:/usr/bin:/bin"
    (tmp_path / "completion").write_text(warm.run("completion", "bash").out)
    warm.variables["COMPLETION"] = str(tmp_path / "completion")
    return warm


def _tab(bash: Shell, *line: str) -> list[str]:
    """What bash offers for the last word of a line."""
    assert BASH is not None
    command = [BASH, "--norc", "-c", PRESSED, "bash", bash.env["COMPLETION"], "collectors", *line]
    done = subprocess.run(command, cwd=bash.project, env=bash.env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (["requ"], ["requests"]),
        (["requests", "pri"], ["priority"]),
        (["collect", "x", "--dead"], ["--deadline"]),
        (["requests", "list", "--state", "c"], ["collecting", "cleaning", "complete", "cancelled"]),
        (["requests", "result", "x", "--format", "n"], ["ndjson"]),
        (["requests", "priority", "x", ""], ["low", "normal", "high"]),
        (["--app", "shop", "show", "qui"], ["quick", "quick_too"]),
        (["--app", "shop", "collect", "x", "-c", "st"], ["steady", "stuck"]),
        (["--app", "shop", "collectors", "test", "so"], ["sour"]),
        (["--app", "nope", "show", ""], []),
        (["--app", "raises", "show", ""], []),
        (["show", ""], []),
    ],
)
def test_bash_completes(bash: Shell, line: list[str], offered: list[str]) -> None:
    assert _tab(bash, *line) == offered


@pytest.mark.parametrize("command", ["show", "watch", "cancel", "retry", "priority", "result"])
def test_bash_completes_a_requests_id(bash: Shell, command: str) -> None:
    request_id = bash.collect("fast:food", "--json").json()["request_id"]
    line = ("--app", "shop", "requests", command, request_id[:6])
    until(lambda: _tab(bash, *line) == [request_id], "its id; where the machine is too busy, at another Tab")


def test_a_tab_starts_no_engine_and_waits_for_no_server(cold: Shell) -> None:
    cold.variables |= {
        "_COLLECTORS_COMPLETE": "bash_complete",
        "COMP_WORDS": "collectors --app shop requests show ",
        "COMP_CWORD": "5",
    }
    assert cold.run().out == "\n"
    assert not cold.home.exists()
    cold.variables |= {"CELERY_BROKER_URL": "redis://127.0.0.1:1", "COLLECTORS_LEDGER": "redis://127.0.0.1:1"}
    assert cold.run().out == "\n"
