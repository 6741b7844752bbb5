"""Where RabbitMQ and Redis are: in the environment, in containers, or on localhost; and whether they answer."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.utils.url import maybe_sanitize_url

_ADDRESSES = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
_DOCKER_PATIENCE_S = 5.0
_CONNECT_TIMEOUT_S = 2.0
_POLL_S = 0.5


@dataclass(frozen=True)
class Kind:
    """One of the two servers, and how it is called in each place."""

    name: str
    role: str
    variable: str
    port: int
    url: str

    @property
    def container(self) -> str:
        """The container's name, as in the original's instructions."""
        return self.name.lower()

    @property
    def how_to_run(self) -> str:
        """The original's own line, and what to do once that has been done."""
        return (
            f"docker run --name {self.container} -d -p {self.port}:{self.port} {self.container} "
            f"(docker start {self.container}, if it is there already)"
        )


RABBITMQ = Kind("RabbitMQ", "the broker", "CELERY_BROKER_URL", 5672, "amqp://guest:guest@{host}:5672//")
REDIS = Kind("Redis", "the result backend", "CELERY_RESULT_BACKEND", 6379, "redis://{host}:6379/0")


@dataclass(frozen=True)
class Found:
    """A server's URL, and the place that it is from."""

    kind: Kind
    url: str
    place: str

    @property
    def given(self) -> bool:
        """Somebody asked for this one, so nothing else may stand in for it."""
        return self.place == self.kind.variable

    def __str__(self) -> str:
        """For people: no password."""
        name = self.kind.role if self.given else self.kind.name  # a given one may be of another make
        return f"{name} at {maybe_sanitize_url(self.url)} ({self.place})"


class Unusable(Exception):
    """Waiting for a server would not help: what is said about it has to be mended."""


class Unreachable(Exception):
    """A server did not answer in time."""


def find(kind: Kind, env: Mapping[str, str]) -> Found | None:
    """Look for a server in its three places; the first that has it wins.

    Raises:
        Unusable: if the environment has something that is no URL; it isn't quoted, because of its password.
    """
    if url := env.get(kind.variable):
        _refuse_unreadable(url, kind)
        return Found(kind, url, kind.variable)
    if host := _container_address(kind.container):
        return Found(kind, kind.url.format(host=host), f"container {kind.container}")
    if _listens("localhost", kind.port):
        return Found(kind, kind.url.format(host="localhost"), "localhost")
    return None


def wait(found: Found, *, wait_s: float, give_up: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Return once a server answers in its own protocol: an open port may be a container that is still booting.

    Raises:
        Unreachable: naming the server and what it said last.
        Unusable: if it refuses us, or can't be spoken to at all.
    """
    said, until_s = False, time.monotonic() + wait_s
    while (error := _asked(found)) and not give_up():
        if time.monotonic() >= until_s:
            raise Unreachable(f"{found} did not answer within {wait_s:g} s: {error}. Is it running?")
        if not said:
            say(f"waiting for {found}: {error}")
            said = True
        time.sleep(_POLL_S)


def _asked(found: Found) -> str:
    """Empty once it answers; what is in the way, if waiting can help.

    Raises:
        Unusable: if waiting can't help.
    """
    try:
        with Connection(found.url, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.1, interval_max=0.1)
    except (OperationalError, OSError) as error:
        return _words(error)
    except Exception as error:  # each transport has its own: refused, no such virtual host, unknown scheme
        raise Unusable(f"{found} can't be used: {_words(error)}; set {found.kind.variable}") from error
    return ""


def _words(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def speaks_redis(url: str) -> bool:
    """Whether the ledger can be at this URL."""
    return urlsplit(url).scheme.split("+")[0] in ("redis", "rediss", "valkey", "valkeys", "unix")


def _refuse_unreadable(url: str, kind: Kind) -> None:
    try:
        if urlsplit(url).port or urlsplit(url).scheme:
            return
    except ValueError:
        pass
    raise Unusable(
        f"{kind.variable} can't be read as a URL like {kind.url.format(host='localhost')}; "
        "in a password, / @ : # are written %2F %40 %3A %23"
    )


def _container_address(name: str) -> str:
    """The first address of a running container; none, too, without docker or without its engine."""
    try:
        done = subprocess.run(
            ["docker", "inspect", "-f", _ADDRESSES, name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DOCKER_PATIENCE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(done.stdout.split()), "")


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
