"""What ``start_celery_and_flower.sh`` runs: ``collectors up``, on the servers that are there."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from main.scripts import servers
from main.scripts.servers import RABBITMQ, REDIS, Found

ADDRESS = "127.0.0.1"
CANNOT, USAGE, UNREACHABLE = 1, 2, 5

_ROOT = Path(__file__).resolve().parents[2]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OF_A_BROKER = {"CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "COLLECTORS_BROKER"}


@dataclass
class Stop:
    """Whether somebody asked to stop while we wait for servers."""

    asked: bool = False

    def listen(self) -> None:
        """Hear Ctrl-C, a polite kill, and the terminal's end unless ``nohup`` said otherwise."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._heard)

    def _heard(self, _number: int, _frame: object) -> None:
        self.asked = True


def say(text: str) -> None:
    """One line for the person who started this; a terminal that has gone must not keep us from stopping."""
    with suppress(OSError):
        print(f"start: {text}", flush=True)  # noqa: T201


def fail(text: str, status: int) -> NoReturn:
    """One line on stderr, and the end."""
    with suppress(OSError):
        print(f"start: {text}", file=sys.stderr, flush=True)  # noqa: T201
    raise SystemExit(status)


def main(port: int, app: str, wait_s: float, worker_args: Sequence[str]) -> None:
    """Find the servers, then become ``collectors up`` on them, with a worker and Flower."""
    stop = Stop()
    stop.listen()
    _refuse_a_taken_port(port)
    urls = _servers(wait_s, stop)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until what we become listens for them itself
    if stop.asked:
        return
    options = ["--label", "start", "--banner", "--no-web", "--flower-port", str(port)]
    command = [sys.executable, "-m", "celery_collectors.cli", "--app", app, "up", *options]
    os.execve(command[0], [*command, "--", "-n", "main@%h", *worker_args], _environment(urls))


def _refuse_a_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Flower does
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            fail(f"Flower can't have port {port} on {ADDRESS}: {error.strerror}; choose another with --port", CANNOT)


def _servers(wait_s: float, stop: Stop) -> Mapping[str, str]:
    """Say which servers are taken, and return how they are named to Celery; none for the embedded engine."""
    found = [server for kind in (RABBITMQ, REDIS) if (server := servers.find(kind, os.environ))]
    if len(found) != 2:
        say(f"taking the embedded engine: {_why_embedded(found)}")
        return {}
    say(f"taking {found[0]} and {found[1]}")
    _await(found, wait_s, stop)
    urls = {server.kind.variable: server.url for server in found}
    if any(not server.given for server in found):
        say("for another terminal: export " + " ".join(f"{name}={shlex.quote(url)}" for name, url in urls.items()))
    return urls


def _await(found: Sequence[Found], wait_s: float, stop: Stop) -> None:
    for server in found:
        if server.kind is REDIS and not servers.speaks_redis(server.url):
            _refuse_without_ledger(server)
        else:
            servers.wait(server, wait_s=wait_s, give_up=lambda: stop.asked, say=say)


def _refuse_without_ledger(server: Found) -> None:
    if not os.environ.get("COLLECTORS_LEDGER"):
        raise servers.Unusable(f"{server.kind.variable} is no Redis: set it, or COLLECTORS_LEDGER, to a Redis's URL")


def _why_embedded(found: Sequence[Found]) -> str:
    """One server without the other is of no use: refused if it was asked for, passed over if it just happens to run."""
    if not found:
        return "there is no RabbitMQ and no Redis in the environment, in containers or on localhost"
    (there,) = found
    missing = REDIS if there.kind is RABBITMQ else RABBITMQ
    if there.given:
        raise servers.Unusable(
            f"{there.place} is set, but there is no {missing.name}: set {missing.variable}, or start it: "
            f"{missing.how_to_run}"
        )
    return f"there is {there}, but no {missing.name}. To use both: {missing.how_to_run}"


def _environment(urls: Mapping[str, str]) -> dict[str, str]:
    """Ours, with these servers, whatever else it says of a broker."""
    was_given = RABBITMQ.variable in os.environ
    gone = set() if was_given else _OF_A_BROKER
    return {name: value for name, value in os.environ.items() if name not in gone} | dict(urls)


if __name__ == "__main__":
    os.chdir(_ROOT)
    try:
        main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:])
    except servers.Unusable as error:
        fail(str(error), USAGE)
    except servers.Unreachable as error:
        fail(str(error), UNREACHABLE)
