"""``collectors up`` and the parts alone: what runs, what comes back, and that nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from celery_collectors import embedded
from celery_collectors.embedded import Home
from celery_collectors.up import voices
from celery_collectors.up.voices import Voices
from tests.cli.conftest import Running, Shell, until
from tests.servers.server import free_ports

SHOP = ("--app", "shop")
READY = r"ready: 1 worker on the queue collectors\.shop\.v1"


@pytest.fixture
def seat(cold: Shell) -> Iterator[Shell]:
    """A shell whose user has no password for Flower yet."""
    cold.variables["XDG_STATE_HOME"] = str(cold.home.parent / "state")
    return cold


def _up(shell: Shell, *arguments: str) -> Running:
    return shell.start(*SHOP, "up", "--no-web", *arguments)


def _plain(shell: Shell, *arguments: str) -> Running:
    """A worker only, and it is there."""
    running = _up(shell, "--no-flower", "--concurrency", "1", *arguments)
    running.prints(READY)
    return running


def _workers(shell: Shell) -> list[psutil.Process]:
    """The first process of each worker; one that ends while they are read is left out, and raises nothing."""
    belonging = {int(line.split()[0]) for line in shell.processes()}
    alive = psutil.process_iter(["cmdline", "ppid"])
    mains = [p for p in alive if p.pid in belonging and {"worker", "celery"} <= set(p.info["cmdline"] or ())]
    return [p for p in mains if p.info["ppid"] not in {other.pid for other in mains}]


def _log(shell: Shell) -> str:
    """What the engine's supervisor says."""
    return Home(shell.home).supervisor_log.read_text(encoding="utf-8")


def _nothing_is_left(shell: Shell, within_s: float = 15.0) -> None:
    until(lambda: not shell.processes(), f"nothing is left: {shell.processes()}", within_s)


@pytest.mark.heavy
def test_the_whole_set_answers_comes_back_and_leaves_nothing_behind(seat: Shell) -> None:
    page, flower = map(str, free_ports(2))
    arguments = ("--workers", "2", "--concurrency", "2", "--port", page, "--flower-port", flower)
    running = seat.start(*SHOP, "up", *arguments)
    login = running.prints(r"Flower: (http://\S+), user collectors, password (\S+) \(shown this once, kept in (.+)\)")
    running.prints(r"ready: 2 workers on the queue collectors\.shop\.v1")
    running.prints(rf"ready: the page answers at http://127\.0\.0\.1:{page}")
    running.prints(rf"ready: Flower answers at http://127\.0\.0\.1:{flower}")
    request_id = httpx.post(f"http://127.0.0.1:{page}/v1/requests", json={"topic": "fast:food"}).json()["request_id"]
    until(lambda: seat.show(request_id)["state"] == "complete", "our workers answer what the page was asked")
    assert "worker 1 started" not in _log(seat), "the engine starts none beside ours"
    assert stat.S_IMODE(Path(login[3]).stat().st_mode) == 0o600
    assert not [p for p in psutil.process_iter() if login[2] in " ".join(_argv(p))]
    assert "FLOWER_BASIC_AUTH" not in _workers(seat)[0].environ()
    _kill_what_listens(page, flower)
    running.prints("the page ended with status -9: started again")
    running.prints("Flower ended with status -9: started again")
    until(lambda: request_id in _asked(page, "/v1/requests"), "the page's return")
    until(lambda: _asked(flower, "/healthcheck"), "Flower's return")
    _restart_one_from_the_page(seat, page)
    for label in ("worker-1", "worker-2", "  flower", "      up"):
        assert re.search(f"^{label}: ", running.out, re.MULTILINE), running.out
    running.process.terminate()
    assert running.done().code == 0
    assert running.out.endswith("up: stopped\n")
    assert seat.processes() == []
    again = _up(seat, "--flower-port", flower)
    again.prints(rf"user collectors, password in {re.escape(login[3])}")
    again.interrupt()
    assert again.done().code == 0
    assert login[2] not in again.out


def _restart_one_from_the_page(seat: Shell, port: str) -> None:
    before = {worker.pid for worker in _workers(seat)}
    name = until(lambda: re.search('aria-label="Restart ([^"]+)"', _asked(port, "/workers")), "a worker")[1]
    assert httpx.post(f"http://127.0.0.1:{port}/workers", data={"name": name}).status_code == 303
    until(lambda: before - {worker.pid for worker in _workers(seat)}, "it has ended")
    until(lambda: len({worker.pid for worker in _workers(seat)} - before) == 1, "another is there in its place")


def _kill_what_listens(*ports: str) -> None:
    for connection in psutil.net_connections("inet"):
        if connection.status == psutil.CONN_LISTEN and str(connection.laddr.port) in ports:
            psutil.Process(connection.pid).kill()


def _asked(port: str, path: str) -> str:
    """What a server answers; nothing while it is away."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}").text
    except httpx.TransportError:
        return ""


def _argv(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_killed_worker_comes_back_and_killed_itself_up_leaves_nothing_behind(seat: Shell) -> None:
    running = _plain(seat)
    (before,) = _workers(seat)
    before.kill()
    running.prints("the worker ended with status -9: started again")
    (after,) = until(lambda: _workers(seat), "another worker")
    assert after.pid != before.pid
    assert seat.collect("fast:food").code == 0
    assert len(seat.processes()) >= 5
    running.process.kill()
    _nothing_is_left(seat)


@pytest.mark.heavy
def test_one_that_only_crashes_ends_all_and_its_last_words_are_said(seat: Shell) -> None:
    running = _up(seat, "--no-flower", "--", "--no-such-option")
    done = running.done(within_s=70)  # five starts of Celery, and 7.5 s between them
    assert done.code == 1
    said = "error: the worker ended 5 times within 10 s of its start, the last time with status 2; it said: "
    assert said in done.err
    assert "No such option" in done.err
    _nothing_is_left(seat)


@pytest.mark.heavy
def test_told_to_stop_it_lets_what_runs_end(seat: Shell, tmp_path: Path) -> None:
    running = _plain(seat)
    asked = seat.start(*SHOP, "collect", f"stuck:{tmp_path / 'gate'}")
    asked.says("stuck: running")
    running.process.terminate()
    running.prints("stopping: what the worker runs has 10 s to end; Ctrl-C again ends it at once")
    (tmp_path / "gate").touch()
    assert asked.done().code == 0, "the engine lives as long as somebody uses it"
    assert running.done().code == 0
    _nothing_is_left(seat)


@pytest.mark.heavy
@pytest.mark.parametrize(("grace", "says", "times"), [("10m", "600 s", 2), ("1s", "1 s", 1)])
def test_told_twice_it_does_not_wait_nor_longer_than_its_grace(
    seat: Shell, tmp_path: Path, grace: str, says: str, times: int
) -> None:
    running = _plain(seat, "--grace", grace)
    request_id = seat.collect(f"stuck:{tmp_path / 'never'}", "--detach").out.strip()
    until(lambda: seat.show(request_id)["outcomes"]["stuck"]["state"] == "running", "it runs")
    (worker,) = _workers(seat)
    there = [worker, *worker.children(recursive=True)]
    running.interrupt()
    running.prints(f"has {says} to end")
    if times > 1:
        running.interrupt()
    running.prints("the worker did not end: killed")
    assert running.process.wait(30) == 0
    until(lambda: not any(p.is_running() for p in there), "the worker is gone, and its pool with it")


def test_told_to_stop_before_it_has_started(seat: Shell) -> None:
    running = _up(seat, "--no-flower")
    until((seat.home / "status.json").exists, "the engine is starting")
    running.process.terminate()
    assert running.done().code == 0
    _nothing_is_left(seat)


def test_told_to_stop_in_the_middle_of_an_import(seat: Shell) -> None:
    """CPython would end by SIGINT, though it was caught, where ``KeyboardInterrupt`` has struck in code of a string."""
    done = seat.start("--app", "told_in_a_string", "up", "--no-web", "--no-flower").done()
    assert (done.code, done.err) == (0, "stopped before it had started\n")
    _nothing_is_left(seat)


def test_a_taken_port_is_said_before_anything_starts(seat: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = seat.run(*SHOP, "up", "--no-web", "--flower-port", str(port))
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        f"error: Flower can't have port {port} on 127.0.0.1: something listens there already",
        "hint: choose another with --flower-port, or end what has it (another 'collectors up'?)",
    ]
    assert not seat.home.exists()


@pytest.mark.heavy
def test_two_at_once_share_the_engine_and_one_outlives_the_other(seat: Shell) -> None:
    first, second = (_up(seat, "--no-flower", "--concurrency", "1") for _ in range(2))
    for one in (first, second):
        one.prints(READY)
    assert len(_workers(seat)) == 2
    first.interrupt()
    assert first.done().code == 0
    assert seat.collect("fast:food").code == 0
    assert "worker 1 started" not in _log(seat)
    os.kill(second.process.pid, signal.SIGHUP)
    assert second.done().code == 0
    _nothing_is_left(seat)


def test_who_leaves_an_engine_that_others_use_does_not_wait_for_its_end(warm: Shell) -> None:
    began_s = time.monotonic()
    embedded.await_end(warm.home, at_most_s=60)
    assert time.monotonic() - began_s < 30
    assert embedded.status(warm.home).state == "running"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["up", "extra"], "'extra' is one argument too many"),
        (["up", "--workers", "0"], "0 is not in the range"),
        (["up", "--port", "70000"], "a port is a number from 1 to 65535, not '70000'"),
        (["web", "--port", "x"], "a port is a number from 1 to 65535, not 'x'"),
        (["up", "--grace", "soon"], "'soon' is not a duration"),
        (["worker", "--pool", "gevent"], "'gevent' is not one of"),
    ],
)
def test_what_can_not_be_is_refused(seat: Shell, arguments: list[str], says: str) -> None:
    done = seat.run(*SHOP, *arguments)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert not seat.home.exists()


def test_servers_that_do_not_answer_are_said(seat: Shell) -> None:
    seat.variables |= {"CELERY_BROKER_URL": "amqp://u:pw@127.0.0.1:1//", "COLLECTORS_LEDGER": "redis://127.0.0.1:1/1"}
    done = seat.run(*SHOP, "up", "--no-flower", "--no-web")
    assert (done.code, done.out) == (5, "")
    assert "error: the broker at" in done.err and "pw" not in done.err


# One part alone


@pytest.mark.heavy
def test_a_worker_alone_on_the_engine(seat: Shell) -> None:
    running = seat.start(*SHOP, "worker", "--pool", "threads", "--concurrency", "2")
    running.prints(" ready\\.")
    assert seat.collect("fast:food").code == 0
    assert "worker 1 started" not in _log(seat)
    running.process.terminate()
    assert running.done().code == 0
    _nothing_is_left(seat)


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_alone_on_the_engine(seat: Shell, number: int) -> None:
    (port,) = map(str, free_ports(1))
    running = seat.start(*SHOP, "web", "--port", port)
    running.says(rf"the page: http://127\.0\.0\.1:{port}; Ctrl-C stops it")
    until(lambda: _asked(port, "/readyz"), "the page")
    os.kill(running.process.pid, number)
    done = running.done()
    assert (done.code, done.out, "error" in done.err) == (0, "", False)
    _nothing_is_left(seat)


def test_a_worker_alone_on_servers_becomes_celerys_own(seat: Shell, ledger_url: str) -> None:
    """So that in a container it is the first process, and has every signal to itself."""
    seat.variables |= {"CELERY_BROKER_URL": ledger_url, "COLLECTORS_LEDGER": ledger_url}
    running = seat.start(*SHOP, "worker", "--concurrency", "1")
    running.says(" ready\\.")
    assert "celery" in psutil.Process(running.process.pid).cmdline()
    running.process.terminate()
    assert running.done().code == 0


@pytest.mark.heavy
def test_a_worker_that_can_not_start_alone(seat: Shell) -> None:
    done = seat.start(*SHOP, "worker", "--", "--no-such-option").done()
    assert (done.code, "No such option" in done.out) == (1, True)
    assert "error: the worker ended with status 2" in done.err
    _nothing_is_left(seat)


def test_a_sweeper_ends_what_nobody_works_on(seat: Shell, ledger_url: str) -> None:
    seat.variables |= {"CELERY_BROKER_URL": ledger_url, "COLLECTORS_LEDGER": ledger_url}
    running = seat.start(*SHOP, "sweeper")
    running.says("sweeping the ledger of shop; Ctrl-C stops it")
    request_id = seat.collect("fast:food", "--detach", "--deadline", "200ms").out.strip()
    until(lambda: seat.show(request_id)["state"] == "failed", "the deadline ends it")
    running.interrupt()
    assert running.done().code == 0


# Flower alone, and what is not whole


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "says"),
    [
        ((*SHOP, "flower"), {"FLOWER_BASIC_AUTH": "secret"}, 2, "FLOWER_BASIC_AUTH is not user:password"),
        ((*SHOP, "flower"), {"XDG_STATE_HOME": "/proc/nowhere"}, 1, "Flower's password can't be kept in /proc/nowhere"),
        (("--app", "nope", "flower"), {}, 2, "there is no module 'nope'"),
    ],
)
def test_a_flower_that_can_not_be_says_so_before_it_shows_a_password(
    seat: Shell, ledger_url: str, arguments: tuple[str, ...], variables: dict[str, str], code: int, says: str
) -> None:
    seat.variables |= {"CELERY_BROKER_URL": ledger_url, "COLLECTORS_LEDGER": ledger_url, "FLOWER_BASIC_AUTH": ""}
    seat.variables |= variables
    (port,) = map(str, free_ports(1))
    done = seat.run(*arguments, "--port", port)
    assert (done.code, done.out, f"error: {says}" in done.err) == (code, "", True), done.err


def test_a_flower_alone_says_an_address_that_can_be_opened(seat: Shell, ledger_url: str) -> None:
    """Whatever Kubernetes puts into the environment for a service of that name."""
    seat.variables |= {"CELERY_BROKER_URL": ledger_url, "COLLECTORS_LEDGER": ledger_url, "FLOWER_BASIC_AUTH": "a:b"}
    seat.variables["FLOWER_PORT"] = "tcp://10.0.0.1:5555"
    (port,) = map(str, free_ports(1))
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    running = seat.start(*SHOP, "flower", "--host", "::1", "--port", port)
    running.prints(re.escape(f"Flower: http://[::1]:{port}, user and password as FLOWER_BASIC_AUTH says"))
    running.says("Visit me at")
    running.process.terminate()
    running.done()


IN_PART = """
import sys
sys.modules["uvicorn"] = None  # to Python, a module that can't be imported
from celery_collectors.cli import main
main()
"""


def test_a_page_that_is_there_in_part_is_not_installed(seat: Shell) -> None:
    """An app may have brought FastAPI for itself; `up` would start a page that ends at once, and then end all."""
    done = seat.start_command([sys.executable, "-P", "-c", IN_PART, *SHOP, "web"]).done()
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: the page is not installed",
        "hint: pip install 'celery-collectors[web]'",
    ]


# Voices


def test_lines_are_left_out_rather_than_that_anybody_waits() -> None:
    read, write = os.pipe()
    with os.fdopen(read) as reader, os.fdopen(write, "w") as full:
        speaking = Voices(["one"], stream=full)
        for number in range(voices.WAITING_LINES * 2):
            speaking.say("one", f"{number} {'x' * 80}")
        seen: list[str] = []
        drain = threading.Thread(target=lambda: seen.extend(iter(reader.readline, "")), daemon=True)
        drain.start()
        until(lambda: "lines left out" in "".join(seen[-1:]), "what was left out is said")
        speaking.close()
        assert seen[0].startswith("one: 0 x")


def test_a_line_can_not_act_on_the_terminal() -> None:
    import doctest

    assert doctest.testmod(voices).failed == 0
    assert "\x1b" not in voices.visible("\x1b]0;title\x07")


@pytest.mark.heavy
def test_a_reader_that_goes_away_ends_nothing(seat: Shell) -> None:
    command = f"{sys.executable} -P -m celery_collectors.cli --app shop up --no-web --no-flower | head -n 1"
    running = seat.start_command(["/bin/sh", "-c", command])
    until(lambda: _workers(seat), "its worker")
    assert seat.collect("fast:food").code == 0
    os.killpg(running.process.pid, signal.SIGKILL)
    _nothing_is_left(seat)
