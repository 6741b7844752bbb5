"""Three questions to a Valkey on a Unix socket, without a client library: importing one takes 0.15 s."""

from __future__ import annotations

import re
import socket
from pathlib import Path


def answers(path: Path) -> bool:
    """Tell whether a server is there and has loaded its data.

    >>> answers(Path("/nowhere/valkey.sock"))
    False
    """
    return _ask(path, b"PING").startswith(b"+PONG")


def process_id(path: Path) -> int | None:
    """The server's process id, or ``None`` if it doesn't answer."""
    found = re.search(rb"process_id:(\d+)", _ask(path, b"INFO server"))
    return int(found.group(1)) if found else None


def shut_down(path: Path) -> None:
    """Ask the server to write its data to disk and end."""
    _ask(path, b"SHUTDOWN")


def _ask(path: Path, command: bytes, timeout_s: float = 1.0) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(command + b"\r\n")
            return connection.recv(4096)
    except OSError:
        return b""
