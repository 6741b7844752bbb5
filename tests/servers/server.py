"""What every server of the tests has: a URL, an end, and one way to say that it is missing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_S = 60.0
STANDARD_PLACES = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server to test on.

    Attributes:
        url: Where it is.
        ours: Whether the test session started it. What others started may hold what others need.
        log: Where it says what it does; ``None`` if it isn't ours.
    """

    url: str
    ours: bool
    log: Path | None = None


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


def await_answer(process: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path) -> None:
    """Wait until a server answers.

    Raises:
        RuntimeError: when it ends or stays silent instead, with the last it said.
    """
    ends_at = time.monotonic() + START_S
    while time.monotonic() < ends_at and process.poll() is None:
        if answers():
            return
        time.sleep(0.05)
    said = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise RuntimeError(f"{process.args!r} did not start:\n{said}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a server with all that it started: its data is thrown away with its folder."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait(10)
