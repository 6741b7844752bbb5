"""The start script as a user has it: a process of its own, a home of its own, and a ``docker`` that we wrote."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.servers.server import Server, free_ports

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "main" / "scripts" / "start_celery_and_flower.sh"
PATIENCE_S = 40.0
NO_ENGINE = "echo 'Cannot connect to the Docker daemon. Is the docker daemon running?' >&2; exit 1"


def until(condition: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
    """Wait for something that will come about by itself, and return it."""
    deadline_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        time.sleep(0.05)
    return found


def free_port() -> int:
    """A port on 127.0.0.1 that nobody has."""
    return free_ports(1)[0]


@dataclass
class Seat:
    """Where a user sits: what is in their environment, and a folder for what they leave behind."""

    folder: Path
    env: dict[str, str]

    @property
    def login_file(self) -> Path:
        return self.folder / "state" / "celery-collectors" / "flower-login"

    def docker(self, script: str) -> None:
        """Put a stand-in ``docker`` on the PATH."""
        path = self.folder / "bin" / "docker"
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def run(self, *arguments: str, script: Path = SCRIPT, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the script to its end."""
        return subprocess.run(
            [script, *arguments],
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    @contextmanager
    def started(self, *arguments: str, script: Path = SCRIPT, **env: str) -> Iterator[Started]:
        """Run the script while the block lasts; whatever happens in there, nothing is left behind."""
        running = Started(self, [str(script), *arguments], self.env | env)
        try:
            yield running
        finally:
            running.clear_away()


class Started:
    """The start script, running in a session of its own, as in a terminal of its own."""

    def __init__(self, seat: Seat, command: list[str], env: Mapping[str, str]) -> None:
        self.seat = seat
        self.mark = f"START_SCRIPT_TEST={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        self._output = Path(tempfile.mkstemp(dir=seat.folder, suffix=".out")[1])
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=seat.folder,
                env={**env, name: value},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until it has printed something, so often."""

        def look() -> re.Match[str] | None:
            found = list(re.finditer(pattern, self.output))
            assert len(found) >= times or self.process.poll() is None, f"ended before {pattern!r}: {self.output}"
            return found[times - 1] if len(found) >= times else None

        try:
            match: re.Match[str] = until(look, pattern)
        except AssertionError:
            print(self.output)
            raise
        return match

    def ends(self, within_s: float = PATIENCE_S) -> int:
        """Wait for its end: its exit status."""
        until(lambda: self.process.poll() is not None, "the script's end", within_s)
        status: int = self.process.returncode
        return status

    def ctrl_c(self) -> None:
        """As a terminal does: the whole foreground process group gets it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def processes(self, word: str = "") -> list[psutil.Process]:
        """Every living process that came of it."""
        return [p for p in psutil.process_iter() if self._is_ours(p) and word in " ".join(_argv(p))]

    def _is_ours(self, process: psutil.Process) -> bool:
        """By what all of them inherit; Valkey writes its title over that, and its socket's path is in it."""
        name, _, value = self.mark.partition("=")
        try:
            inherited = process.environ().get(name) == value or str(self.seat.folder) in " ".join(process.cmdline())
            return inherited and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def main_process(self, word: str) -> psutil.Process:
        """The worker's or Flower's first process, not one of its children."""
        found = self.processes(word)
        pids = {p.pid for p in found}
        (process,) = [p for p in found if p.ppid() not in pids]
        return process

    def clear_away(self) -> None:
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()
        self.process.wait(10)


def _argv(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


class Flower:
    """Flower's pages and its API, with the password from its file or without."""

    def __init__(self, port: int, login: str | None) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._login = login

    def status(self, path: str, method: str = "GET") -> int:
        """How it answers."""
        return self._ask(path, method)[0]

    def text(self, path: str) -> str:
        """A page."""
        return self._ask(path, "GET")[1]

    def json(self, path: str, method: str = "GET") -> Any:
        """An answer of the API."""
        status, body = self._ask(path, method)
        assert status == 200, (path, status, body)
        return json.loads(body)

    def _ask(self, path: str, method: str) -> tuple[int, str]:
        request = urllib.request.Request(self.url + path, method=method)
        if self._login:
            request.add_header("Authorization", "Basic " + base64.b64encode(self._login.encode()).decode())
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


class _Forward(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(self.server.upstream) as upstream:  # type: ignore[attr-defined]
            other = {self.request: upstream, upstream: self.request}
            while True:
                for ready in select.select(list(other), [], [])[0]:
                    if not (data := ready.recv(65536)):
                        return
                    other[ready].sendall(data)


@contextmanager
def forwarded(address: tuple[str, int], upstream: tuple[str, int]) -> Iterator[None]:
    """A server, seen at another address while the block lasts: a container's, or localhost's own port."""

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(address, _Forward) as server:
        server.upstream = upstream  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield
        server.shutdown()


def make_seat() -> Seat:
    """A user without servers, whose ``docker`` has no engine; short paths, because a socket's must be."""
    folder = Path(tempfile.mkdtemp(prefix="seat-"))
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if name in ("LANG", "PYTHONPATH", "TMPDIR")}
    env = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "VIRTUAL_ENV": sys.prefix,
    }
    found = Seat(folder, kept | env)
    found.docker(NO_ENGINE)
    return found


@pytest.fixture
def seat() -> Iterator[Seat]:
    """A user of the test's own."""
    found = make_seat()
    yield found
    shutil.rmtree(found.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def amqp_url(rabbitmq_server: Server) -> str:
    """The session's RabbitMQ."""
    return rabbitmq_server.url


@pytest.fixture(scope="session")
def redis_url(redis_server: Server) -> str:
    """The session's Redis."""
    return redis_server.url
