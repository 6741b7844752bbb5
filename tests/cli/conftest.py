"""The command line as a user has it: a process of its own, a folder with an app, an embedded engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from celery_collectors import embedded

APPS = Path(__file__).parent / "apps"
BROKEN = {
    "broken": "def unfinished(:\n",
    "missing_import": "import a_package_that_nobody_has\n",
    "a_package_that_nobody_has_either": "import a_package_that_nobody_has\n",
    "raises": "settings = {}\n\ntoken = settings['token']\n",
    "leaves": "import sys\n\nsys.exit('goodbye')\n",
    "no_app": "app = 'not a Celery app'\n",
    "bare": "from celery import Celery\n\napp = Celery('bare')\n",
}
PATIENCE_S = 30.0
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def until(condition: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> Any:
    """Wait for something that will come about by itself, and return it."""
    deadline_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        time.sleep(0.02)
    return found


@dataclass
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


class Running:
    """A command that runs in a session of its own, as in a terminal of its own."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str], folder: Path) -> None:
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8")

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8")

    def prints(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until stdout has something, so often."""

        def look() -> re.Match[str] | None:
            found = list(re.finditer(pattern, self.out))
            if len(found) < times and self.process.poll() is not None:
                raise AssertionError(f"ended ({self.process.returncode}) without {pattern!r}: {self.out}{self.err}")
            return found[times - 1] if len(found) >= times else None

        found: re.Match[str] = until(look, f"{pattern!r} on stdout")
        return found

    def says(self, pattern: str) -> re.Match[str]:
        """Wait until stderr has something."""
        found: re.Match[str] = until(
            lambda: re.search(pattern, self.err) or self._ended(pattern), f"{pattern!r} on stderr: {self.err}"
        )
        return found

    def _ended(self, pattern: str) -> None:
        if self.process.poll() is not None and not re.search(pattern, self.err):
            raise AssertionError(f"ended ({self.process.returncode}) without saying {pattern!r}: {self.err}")

    def interrupt(self) -> None:
        """What Ctrl-C does: a signal for the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def done(self, within_s: float = PATIENCE_S) -> Done:
        """Wait for its end."""
        code = self.process.wait(within_s)
        done = Done(code, self._out.read_text(encoding="utf-8"), self.err)
        assert "Traceback" not in done.out + done.err, done.err
        return done


class Spare:
    """A process that has the slow imports behind it, and forks itself into one command after the other.

    Nine tenths of a refusal's time would be the import of Celery. What is about starting uses :class:`Running`.
    """

    SOURCE = """
import json, os, sys
import celery.app.utils, celery_collectors.cli.group, celery_collectors.collectors, rich.live, rich.table
from celery_collectors.cli import main

for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        sys.argv = ["collectors", *asked["arguments"]]
        for number, name in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", self.SOURCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Done:
        """Run ``collectors`` in a fork."""
        assert self._process.stdin and self._process.stdout
        with tempfile.TemporaryDirectory(prefix="cc-out-") as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            asked = {"arguments": arguments, "cwd": str(cwd), "env": env, "out": str(out), "err": str(err)}
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            done = Done(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))
        assert "Traceback" not in done.out + done.err, done.err
        return done

    def close(self) -> None:
        self._process.communicate()


@dataclass
class Shell:
    """Runs commands in a project, with an engine's home, and ends what they leave running."""

    project: Path
    home: Path
    spare: Spare
    variables: dict[str, str] = field(default_factory=dict)
    _running: list[Running] = field(default_factory=list)
    _folders: list[Path] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """The tester's own settings must not decide a test."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COLLECTORS_", "CELERY_", "BROKER_")) and name not in ("COLUMNS", "NO_COLOR", "APP")
        }
        return {**kept, "COLLECTORS_HOME": str(self.home), "TERM": "xterm", **self.variables}

    def start(self, *arguments: str, program: Sequence[str] = ("celery_collectors.cli",)) -> Running:
        """Start ``collectors``; ``-P`` because the installed script has no current folder on its path either."""
        return self.start_command([sys.executable, "-P", "-m", *program, *arguments])

    def start_command(self, command: Sequence[str]) -> Running:
        folder = Path(tempfile.mkdtemp(prefix="cc-out-"))
        running = Running(command, self.project, self.env, folder)
        self._running.append(running)
        self._folders.append(folder)
        return running

    def run(self, *arguments: str) -> Done:
        """Run ``collectors`` to its end."""
        return self.spare.run(arguments, self.project, self.env)

    def collect(self, *arguments: str) -> Done:
        """Run ``collectors --app shop collect``."""
        return self.run("--app", "shop", "collect", *arguments)

    def show(self, request_id: str) -> dict[str, Any]:
        """What ``requests show`` says of a request."""
        return self.run("--app", "shop", "requests", "show", request_id, "--json").json()

    def processes(self) -> list[str]:
        """Every living process that belongs to the home."""
        return [f"{p.pid} {p.name()}" for p in psutil.process_iter() if _belongs(p, str(self.home))]

    def end_commands(self) -> None:
        """Kill what a failed test left running, and forget what was said."""
        for running in self._running:
            with suppress(ProcessLookupError):
                if running.process.poll() is None:
                    os.killpg(running.process.pid, signal.SIGKILL)
                    running.process.wait(PATIENCE_S)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def end_engine(self) -> None:
        """Stop the engine, and wait for that."""
        said = embedded.status(self.home)
        if said.supervisor_pid:
            with suppress(ProcessLookupError):
                os.kill(said.supervisor_pid, signal.SIGTERM)
        until(lambda: embedded.status(self.home).state == "stopped", "the engine has stopped")


def _belongs(process: psutil.Process, home: str) -> bool:
    with suppress(psutil.Error):
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        said = [*process.cmdline(), *process.environ().values()]
        return any(home in text for text in said) or any(home in c.laddr for c in process.net_connections("unix"))
    return False


@pytest.fixture(scope="session")
def project() -> Iterator[Path]:
    """A folder with the apps, importable from there only."""
    with tempfile.TemporaryDirectory(prefix="cc-") as folder:
        shutil.copytree(APPS, folder, dirs_exist_ok=True)
        for name, source in BROKEN.items():
            Path(folder, f"{name}.py").write_text(source)
        yield Path(folder).resolve()


@pytest.fixture(scope="session")
def warm_home(project: Path) -> Iterator[Path]:
    """An engine that runs already, for the tests that aren't about starting it."""
    folder = Path(tempfile.mkdtemp(prefix="cc-")).resolve()
    with embedded.use(folder / "h", app="shop", project=project, start_timeout_s=PATIENCE_S):
        yield folder / "h"
    until(lambda: embedded.status(folder / "h").state == "stopped", "the engine has stopped")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def spare() -> Iterator[Spare]:
    """A process to fork commands from."""
    process = Spare()
    yield process
    process.close()


@pytest.fixture
def warm(project: Path, warm_home: Path, spare: Spare) -> Iterator[Shell]:
    """A shell whose engine runs already."""
    shell = Shell(project, warm_home, spare)
    yield shell
    shell.end_commands()


@pytest.fixture
def cold(project: Path, spare: Spare) -> Iterator[Shell]:
    """A shell with nothing running; sockets need a short path, so not ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(prefix="cc-")).resolve()
    shell = Shell(project, folder / "h", spare)
    yield shell
    shell.end_commands()
    shell.end_engine()
    shutil.rmtree(folder, ignore_errors=True)
