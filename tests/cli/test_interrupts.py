"""Ctrl-C, signals and sudden death."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import celery_collectors
from celery_collectors import embedded
from tests.cli.conftest import UUID, Running, Shell, until


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The slow collector waits for this file."""
    return tmp_path / "gate"


def _start_slow(shell: Shell, gate: Path, *more: str) -> Running:
    running = shell.start("--app", "shop", "collect", f"slow:{gate}", "--deadline", "2m", *more)
    running.says("slow: running")
    return running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_interrupt_detaches(warm: Shell, gate: Path, number: int) -> None:
    running = _start_slow(warm, gate)
    os.killpg(running.process.pid, number)
    done = running.done()
    assert (done.code, done.out) == (130, "")
    request_id = UUID.search(done.err)
    assert request_id, done.err
    assert f"collectors --app shop requests show {request_id[0]}" in done.err
    assert warm.show(request_id[0])["state"] == "collecting"
    gate.touch()
    until(lambda: warm.show(request_id[0])["state"] == "complete", "the request ends by itself")


@pytest.mark.heavy
def test_a_detached_request_keeps_the_engine_until_it_is_final(cold: Shell, gate: Path) -> None:
    running = _start_slow(cold, gate)
    running.interrupt()
    assert running.done().code == 130
    request_id = UUID.search(running.err)
    assert request_id
    assert embedded.status(cold.home).worker == "running"
    gate.touch()
    until(lambda: embedded.status(cold.home).state == "stopped", "the engine ends after its last request")
    assert cold.show(request_id[0])["result"]["items"] == ["at last"]


def test_the_second_interrupt_cancels(warm: Shell, gate: Path) -> None:
    running = _start_slow(warm, gate)
    running.interrupt()
    running.says("press Ctrl-C again")
    running.interrupt()
    done = running.done()
    assert done.code == 7
    assert "cancelled" in done.err
    request_id = UUID.search(done.err)
    assert request_id and warm.show(request_id[0])["state"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_reader_that_takes_nothing_can_be_left(warm: Shell, tmp_path: Path, number: int) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while os.write(end, b"full"):
            pass
    command = f"exec {sys.executable} -P -m celery_collectors.cli --app shop collect fast:food > {pipe}"
    running = warm.start_command(["/bin/sh", "-c", command])
    request_id = running.says("request ([-0-9a-f]{36})")[1]
    os.killpg(running.process.pid, number)
    done = running.done()
    os.close(end)
    assert done.code == 130
    assert f"the answer is kept: collectors --app shop requests show {request_id}" in done.err


def test_interrupted_before_anything_was_asked(cold: Shell) -> None:
    running = cold.start("--app", "shop", "collect", "fast:food")
    until((cold.home / "status.json").exists, "the engine is starting")
    running.interrupt()
    # The last is what a shell calls 130, too: it came when all was said, and Python itself was ending.
    assert running.process.wait(30) in (0, 130, -signal.SIGINT)
    assert "Traceback" not in running.err


SLOW_TO_COME = """
import sys, time
class Slow:
    def find_spec(self, name, *_):
        if name == "click":
            print("importing", file=sys.stderr, flush=True)
            time.sleep(30)
sys.meta_path.insert(0, Slow())
from celery_collectors.cli import main
main()
"""


def test_interrupted_while_the_program_itself_is_read(cold: Shell) -> None:
    running = cold.start_command([sys.executable, "-P", "-c", SLOW_TO_COME])
    running.says("importing")
    running.interrupt()
    done = running.done()
    assert (done.code, done.err.splitlines()[1:]) == (130, ["error: interrupted; nothing was asked"])


def test_little_is_read_before_an_interrupt_is_caught() -> None:
    """What comes before that, Python itself included, shows a traceback; ``typing`` alone takes ten times as long."""
    source = Path(celery_collectors.__file__).parents[1]
    program = f"import sys; sys.path.insert(0, {str(source)!r}); import celery_collectors.cli; print(*sys.modules)"
    command = [sys.executable, "-S", "-E", "-P", "-c", program]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "celery_collectors.cli" in loaded
    assert not {"typing", "re", "click", "enum"} & set(loaded)


def test_detach_prints_the_id_at_once(warm: Shell, gate: Path) -> None:
    done = warm.collect(f"slow:{gate}", "--detach")
    assert done.code == 0
    assert UUID.fullmatch(done.out.strip())
    said = warm.collect(f"slow:{gate}", "--detach", "--json").json()
    assert set(said) == {"version", "request_id"}
    gate.touch()
    until(lambda: warm.show(done.out.strip())["state"] == "complete", "it goes on by itself")


def test_kill_9_leaves_no_process_behind(cold: Shell, gate: Path) -> None:
    running = _start_slow(cold, gate)
    assert cold.processes()
    running.process.kill()
    running.process.wait(30)
    until(lambda: not cold.processes(), f"nothing is left running: {cold.processes()}")


def test_interrupted_in_the_middle_of_something_it_does_not_claim_that_nothing_was_done(cold: Shell) -> None:
    (cold.project / "tries.py").write_text(TRIES)
    running = cold.start("--app", "tries", "test", "tries", "x")
    running.says("at work")
    running.interrupt()
    done = running.done()
    assert (done.code, done.err.splitlines()[-1]) == (130, "error: interrupted")


TRIES = """
import time
from celery import Celery
from celery_collectors import Collectors

app = Celery("tries")
collectors = Collectors(app)


@collectors.collector
def tries(topic):
    print("at work", flush=True)
    time.sleep(30)
"""


def test_advice_leads_to_the_servers_that_were_said(warm: Shell, ledger_url: str) -> None:
    servers = ("--broker", ledger_url, "--ledger", ledger_url.replace("=0", "=6"))
    running = warm.start("--app", "shop", *servers, "collect", "fast:food")
    running.says("no worker consumes")
    running.interrupt()
    running.done()
    advised = running.says("look at it: collectors (.*)")[1]
    assert warm.run(*shlex.split(advised), "--json").json()["state"] == "collecting"
