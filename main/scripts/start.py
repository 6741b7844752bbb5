"""What ``start_celery_and_flower.sh`` runs: a worker and Flower, on the servers that are there."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from celery_collectors import embedded
from celery_collectors.errors import CollectorsError
from main.scripts import flower_login, readiness, servers
from main.scripts.children import Command, GivenUp, Stop, keep_running
from main.scripts.servers import RABBITMQ, REDIS, Found

ADDRESS = "127.0.0.1"
GRACE_S = 10.0
CANNOT, USAGE, UNREACHABLE = 1, 2, 5

# What a request is known by is in kwargs, which Flower 2.2 leaves out unless it is asked for.
COLUMNS = "name,uuid,state,args,kwargs,result,received,started,runtime,worker"
_ROOT = Path(__file__).resolve().parents[2]
_ENGINE_END_S = 5.0

# The first two are Celery's --broker and --result-backend, the next two its halves of a broker: they would win
# over what was found. The others would open Flower to every web page, have it run a file, or move it.
_NOT_PASSED_ON = {
    "BROKER_URL", "RESULT_BACKEND", "FLOWER_UNAUTHENTICATED_API", "FLOWER_CONF", "FLOWER_UNIX_SOCKET",
    "FLOWER_URL_PREFIX", "FLOWER_CERTFILE", "FLOWER_KEYFILE",
}  # fmt: skip
_HALVES = {"CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"}


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
    """Find the servers, then keep a worker and Flower running until told to stop."""
    stop = Stop()
    stop.listen()
    _refuse_a_taken_port(port)
    with _servers(app, wait_s, stop) as urls:
        if stop.times:
            return
        login, url = _login(), f"http://{ADDRESS}:{port}"
        say(f"Flower: {url}, {login}")
        say("Ctrl-C stops both")
        readiness.announce(url, login.text.split(",")[0], say)  # Flower takes several logins, with commas
        keep_running(
            [_worker(app, worker_args, urls), _flower(app, port, {**urls, "FLOWER_BASIC_AUTH": login.text})],
            stop=stop,
            grace_s=GRACE_S,
            say=say,
        )
    say("stopped")


def _refuse_a_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Flower does
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            fail(f"Flower can't have port {port} on {ADDRESS}: {error.strerror}; choose another with --port", CANNOT)


@contextmanager
def _servers(app: str, wait_s: float, stop: Stop) -> Iterator[Mapping[str, str]]:
    """Say which servers are taken, and yield how they are named to Celery; they answer while the block lasts."""
    found = [server for kind in (RABBITMQ, REDIS) if (server := servers.find(kind, os.environ))]
    if len(found) == 2:
        say(f"taking {found[0]} and {found[1]}")
        _await(found, wait_s, stop)
        urls = {server.kind.variable: server.url for server in found}
        if any(server.place != server.kind.variable for server in found):
            _tell_other_terminals(urls)
        yield urls
        return
    say(f"taking the embedded engine: {_why_embedded(found)}")
    with _engine(app) as embedded_urls:
        _tell_other_terminals(embedded_urls)
        yield embedded_urls


def _await(found: Sequence[Found], wait_s: float, stop: Stop) -> None:
    for server in found:
        if server.kind is REDIS and not servers.speaks_redis(server.url):
            _refuse_without_ledger(server)
        else:
            servers.wait(server, wait_s=wait_s, give_up=lambda: stop.times > 0, say=say)


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


@contextmanager
def _engine(app: str) -> Iterator[Mapping[str, str]]:
    """The embedded engine of this app, the one that ``collectors --app`` uses here, without its worker."""
    home = Path(os.environ.get("COLLECTORS_HOME") or embedded.default_home(app, _ROOT, os.environ)).expanduser()
    try:
        with embedded.use(home, app=app, project=_ROOT, worker=False) as addresses:
            yield addresses.environment
    finally:
        end_s = time.monotonic() + _ENGINE_END_S  # it ends with its last user, which need not be us
        while embedded.status(home).state != "stopped" and time.monotonic() < end_s:
            time.sleep(0.05)


def _tell_other_terminals(urls: Mapping[str, str]) -> None:
    needed = [name for name in (RABBITMQ.variable, REDIS.variable, "COLLECTORS_LEDGER") if name in urls]
    say("for another terminal: export " + " ".join(f"{name}={shlex.quote(urls[name])}" for name in needed))


def _login() -> flower_login.Login:
    if own := os.environ.get("FLOWER_BASIC_AUTH"):
        return flower_login.Login(own, None)
    return flower_login.kept(flower_login.path_in(os.environ))


def _worker(app: str, extra: Sequence[str], urls: Mapping[str, str]) -> Command:
    options = ["-n", "main@%h", "--loglevel", "INFO", "--task-events", *extra]
    return Command("the worker", [*_celery(app), "worker", *options], _environment(urls))


def _flower(app: str, port: int, variables: Mapping[str, str]) -> Command:
    """An empty ``--conf``, because by default Flower executes a ``flowerconfig.py`` of the current folder."""
    options = [f"--address={ADDRESS}", f"--port={port}", f"--conf={os.devnull}"]
    env = {"FLOWER_TASKS_COLUMNS": COLUMNS} | _environment(variables)
    return Command("Flower", [*_celery(app), "flower", *options], env)


def _celery(app: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", app]


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Ours, with the given variables; of Flower's password the worker knows nothing."""
    chosen = variables[RABBITMQ.variable] != os.environ.get(RABBITMQ.variable)
    gone = _NOT_PASSED_ON | {"FLOWER_BASIC_AUTH"} | (_HALVES if chosen else set())
    return {name: value for name, value in os.environ.items() if name not in gone} | dict(variables)


if __name__ == "__main__":
    os.chdir(_ROOT)
    try:
        main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:])
    except servers.Unusable as error:
        fail(str(error), USAGE)
    except servers.Unreachable as error:
        fail(str(error), UNREACHABLE)
    except (GivenUp, CollectorsError, OSError) as error:
        fail(str(error), CANNOT)
