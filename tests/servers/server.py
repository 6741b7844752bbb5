"""What every server of the tests has: a URL, an end, and one way to say that it is missing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

START_S = 60.0
STANDARD_PLACES = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server to test on.

    Attributes:
        url: Where it is.
        ours: Whether the test session started it. What others started may hold what others need.
        log: Where it says what it does; ``None`` if it isn't ours.
        daemon: Its process, to be struck by a test that has the server for itself; ``None`` if it isn't ours.
    """

    url: str
    ours: bool
    log: Path | None = None
    daemon: Daemon | None = None


class Missing(Exception):
    """A server can't be had here; the message says how to get it."""


def program(name: str, *places: str, package: str, url_variable: str) -> str:
    """Find a server's program; system folders are looked into too, because a user's PATH seldom has them.

    Raises:
        Missing: with the ways to get it.
    """
    path = os.pathsep.join([*places, os.environ.get("PATH", os.defpath), *STANDARD_PLACES])
    if found := shutil.which(name, path=path):
        return found
    raise Missing(f"no {name} here: run scripts/test, install {package}, or set {url_variable}")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that are free, all found while none of them is given back."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


# Kills the server and its children as soon as the pipe closes: at our end, however we come to it.
GUARD = 'exec 3<&0; "$@" </dev/null & server=$!; { read -r _ <&3; kill -9 0; } & wait $server'


def start(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a server that does not outlive this process, not even one that is killed."""
    with log.open("wb") as output:
        return subprocess.Popen(
            ["bash", "-c", GUARD, "-", *command],
            env=env,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a server with all that it started."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait(10)


class Daemon:
    """A server's process: started, ended in good order or not, and started again on the same port and data.

    Args:
        command: The server, in the foreground, with all its arguments.
        log: Where it says what it does, since its last start.
        name: Its process's name.
        ready: What it says once it answers.
        env: Its environment.
    """

    def __init__(
        self, command: Sequence[str], log: Path, *, name: str, ready: str = "", env: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._log = log
        self._name = name
        self._ready = ready
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            RuntimeError: when it ends or stays silent instead, with the last it said.
        """
        self._process = start(self._command, self._log, self._env)
        ends_at = time.monotonic() + START_S
        while time.monotonic() < ends_at and self._process.poll() is None:
            if self._ready in self._log.read_text(errors="replace"):
                return
            time.sleep(0.05)
        said = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
        raise RuntimeError(f"{self._command!r} did not start:\n{said}")

    def stop(self) -> None:
        """End it in good order, and wait for that."""
        assert self._process is not None
        for child in psutil.Process(self._process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # some come and go all the time
                if child.name() == self._name:
                    child.terminate()
        self._process.wait(START_S)
        self.kill()  # what it left behind

    def kill(self) -> None:
        """Kill it with all that it started."""
        if self._process is not None:
            end(self._process)
