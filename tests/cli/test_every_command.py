"""What holds for every command that there is: its help has an example that runs, and its JSON is one object."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from celery_collectors import embedded
from celery_collectors.cli.group import collectors
from tests.cli.conftest import PATIENCE_S, Running, Shell, Spare, until
from tests.servers.server import free_ports

ROOT = Path(__file__).parents[2]
AN_ID = "3f8a21"  # in every help text; there is no such request
STAYING = {"up", "worker", "web", "flower", "sweeper"}


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from _commands(one, (*path, name))


COMMANDS = dict(_commands(collectors))


def _examples(command: click.Command) -> list[str]:
    return [line.strip() for line in (command.help or "").splitlines() if line.strip().startswith("collectors ")]


INIT_GOES_ON = "collectors collect python"
EXAMPLES = list(dict.fromkeys(one for command in COMMANDS.values() for one in _examples(command)))
WITH_JSON = [path for path, command in COMMANDS.items() if any("--json" in one.opts for one in command.params)]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_its_help_has_an_example_and_fits(warm: Shell, path: tuple[str, ...]) -> None:
    assert _examples(COMMANDS[path])
    done = warm.run(*path, "--help")
    assert (done.code, done.err) == (0, "")
    assert max(len(line) for line in done.out.splitlines()) <= 80
    warm.variables["COLUMNS"] = "40"
    narrow = [line for line in warm.run(*path, "--help").out.splitlines() if not line.strip().startswith("collectors ")]
    assert max(map(len, narrow)) <= 40


# Its examples, as a reader would try them: with this repository's examples and the project `news` of the README


@pytest.fixture(scope="module")
def reader(spare: Spare) -> Iterator[Shell]:
    """A folder with both projects, whose engines run already; a home of their own each."""
    folder = Path(tempfile.mkdtemp(prefix="cc-")).resolve()
    there = folder / "p"
    shutil.copytree(ROOT / "examples", there / "examples")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(# news\.py\n.*?)```", readme, re.DOTALL)
    assert block is not None
    (there / "news.py").write_text(block[1])
    (folder / "bin").mkdir()
    command = folder / "bin" / "collectors"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m celery_collectors.cli "$@"\n')
    command.chmod(0o755)
    variables = {
        "XDG_STATE_HOME": str(folder), "HOME": str(folder), "FLOWER_BASIC_AUTH": "", "COLLECTORS_HOME": "",
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    (folder / ".config" / "fish" / "completions").mkdir(parents=True)
    shell = Shell(there, folder, spare, variables)
    with ExitStack() as engines:
        for app in ("examples.airports", "news"):
            home = embedded.default_home(app, there, shell.env)
            engines.enter_context(embedded.use(home, app=app, project=there, start_timeout_s=PATIENCE_S))
        yield shell
        shell.end_commands()
    until(lambda: not shell.processes(), "both engines have stopped")
    shutil.rmtree(folder, ignore_errors=True)


def _typed(shell: Shell, line: str) -> Running:
    return shell.start_command(["/bin/bash", "-c", f"exec {line}" if " > " not in line and "&&" not in line else line])


def _with_a_real_id(shell: Shell, example: str) -> str:
    """Of a request that came to nothing in time where it is to be tried again."""
    if AN_ID not in example:
        return example
    app = example.split()[2]
    deadline = "1ms" if "retry" in example else "30s"
    topic = "python" if app == "news" else "airport:JFK"
    asked = _typed(shell, f"collectors --app {app} collect {topic} --deadline {deadline} --json").done()
    return example.replace(AN_ID, str(asked.json()["request_id"]))


def _on_free_ports(line: str) -> str:
    """Its own may be somebody's; what is said last counts."""
    one, other = free_ports(2)
    more = {"up": f"--port {one} --flower-port {other}", "web": f"--port {one}", "flower": f"--port {other}"}
    said, dashes, rest = line.partition(" -- ")
    wanted = [ports for name, ports in more.items() if name in line.split()[:4]]
    return " ".join([said, *wanted]) + dashes + rest


@pytest.mark.heavy
@pytest.mark.parametrize("example", [one for one in EXAMPLES if one != INIT_GOES_ON])
def test_an_example_runs(reader: Shell, example: str) -> None:
    if "init" in example:
        example += f" && {INIT_GOES_ON}"
    running = _typed(reader, _on_free_ports(_with_a_real_id(reader, example)))
    if STAYING & set(example.split()[1:4]):
        until(lambda: re.search("ready|Ctrl-C|Visit me", running.out + running.err), f"{example}: {running.err}")
        running.process.terminate()
    done = running.done()
    too_late = "priority" in example and "nothing of it waits any more" in done.err
    assert too_late or done.code in ((0, 4) if "retry" in example else (0,)), done.err


# Its JSON


ARGUMENTS = {
    ("collect",): ["fast:food"],
    ("requests", "show"): ["ID"],
    ("requests", "list"): [],
    ("requests", "cancel"): ["ID"],
    ("requests", "retry"): ["ID", "--failed", "--force"],
    ("requests", "priority"): ["ID", "high"],
    ("list",): [],
    ("show",): ["quick"],
    ("test",): ["quick", "fast:food"],
    ("doctor",): [],
    ("config", "show"): [],
    ("workers", "list"): [],
}
TESTED_ELSEWHERE = {("requests", "watch"), ("workers", "restart")}  # lines of JSON; ends a worker


@pytest.mark.parametrize("path", [one for one in WITH_JSON if one not in TESTED_ELSEWHERE], ids=" ".join)
def test_its_json_is_one_versioned_object(warm: Shell, path: tuple[str, ...], tmp_path: Path) -> None:
    arguments = ARGUMENTS[path[1:] if path[0] == "collectors" else path]
    if "ID" in arguments:
        topic = f"mend:{tmp_path}/never" if "retry" in path else f"slow:{tmp_path}/gate"
        asked = warm.collect(topic, *([] if "retry" in path else ["--detach"]), "--json").json()
        arguments = [asked["request_id"] if one == "ID" else one for one in arguments]
    done = warm.run("--app", "shop", *path, *arguments, "--json")
    (tmp_path / "gate").touch()
    assert done.code in (0, 3), done.err
    assert done.json()["version"] == 1
