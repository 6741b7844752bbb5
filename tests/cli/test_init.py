"""``init``: a project that runs at once, and nothing of anybody's overwritten; ``completion`` for three shells."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Shell


@pytest.fixture
def empty(cold: Shell, tmp_path: Path) -> Iterator[Shell]:
    """A shell in an empty folder."""
    shell = replace(cold, project=tmp_path)
    yield shell
    shell.end_commands()


def test_a_new_project_runs_at_once(empty: Shell) -> None:
    made = empty.run("init", "my-news")
    assert (made.code, made.out) == (0, "")
    assert "cd my-news" in made.err
    there = replace(empty, project=empty.project / "my-news")
    done = there.start("collect", "celery").done()
    assert done.code == 0
    assert done.json()["answered"] == 2
    assert "celery-collectors" in done.json()["found"]
    assert there.run("test", "stdlib", "zip").code == 0


def test_its_own_test_passes(empty: Shell) -> None:
    empty.run("init", "news")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=empty.project / "news", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("there", ["news/news.py", "news/pyproject.toml", "news/test_news.py"])
def test_nothing_is_overwritten(empty: Shell, there: str) -> None:
    mine = empty.project / there
    mine.parent.mkdir()
    mine.write_text("mine")
    done = empty.run("init", "news")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [f"error: {there} is there already", "hint: nothing was written; give another name"]
    assert [path.read_text() for path in mine.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("json", "there is a module 'json' already, which yours would hide"),
        ("celery", "there is a module 'celery' already"),
        ("1st", "'1st' can't be a module's name"),
        ("class", "'class' can't be a module's name"),
        ("-", "'-' can't be a module's name"),  # and `cd -` leads elsewhere
        ("", "'' can't be a module's name"),
        ("/proc/nowhere/news", "'/proc/nowhere/news' can't be made"),
    ],
)
def test_a_name_that_can_not_be(empty: Shell, name: str, says: str) -> None:
    done = empty.run("init", name)
    assert (done.code, done.out, says in done.err) == (1 if "/" in name else 2, "", True), done.err
    assert not any(empty.project.iterdir())


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --")])
def test_each_shell_gets_its_completion(warm: Shell, shell: str, word: str) -> None:
    done = warm.run("completion", shell)
    assert done.code == 0
    assert word in done.out and "_COLLECTORS_COMPLETE" in done.out


def test_a_completion_completes(warm: Shell) -> None:
    warm.variables |= {
        "_COLLECTORS_COMPLETE": "bash_complete",
        "COMP_WORDS": "collectors requests w",
        "COMP_CWORD": "2",
    }
    assert warm.run().out == "plain,watch\n"


def test_in_the_folder_itself(empty: Shell) -> None:
    there = replace(empty, project=empty.project / "my-news")
    there.project.mkdir()
    made = there.run("init", ".")
    assert (made.code, made.err.splitlines()[:2]) == (0, ["made pyproject.toml", "made my_news.py"])
    assert 'name = "my-news"' in (there.project / "pyproject.toml").read_text()
    assert "cd " not in made.err
    assert there.run("collectors", "list").code == 0
