"""``main/scripts/start_celery_and_flower.sh``: what it takes, what it says, and that it leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from celery_collectors.up import flower_login
from main.scripts import servers
from main.scripts.servers import RABBITMQ, REDIS
from tests.main.conftest import NO_ENGINE, ROOT, Flower, Seat, forwarded, free_port, until

APP = ("--app", "tests.main.slow_app")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def nothing_on_localhost() -> None:
    """For what the script does where nothing else runs."""
    if _listens(RABBITMQ.port) or _listens(REDIS.port):
        pytest.skip("a server listens on localhost's own port 5672 or 6379, and the script would take it")


@pytest.fixture
def flower_port() -> Iterator[str]:
    return str(free_port())


def _network_address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.username not in (None, "guest"):
        pytest.skip("the RabbitMQ that was given knows no guest, whom the script takes for a container's")
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "x"], "a port is a number from 1 to 65535, not 'x'"),
        (["--port", "65536"], "a port is a number from 1 to 65535, not '65536'"),
        (["--port"], "--port needs a value"),
        (["--wait", "soon"], "--wait is a number of seconds, not 'soon'"),
        (["-c", "4"], "unknown argument: -c; what is for the worker comes after --"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(seat: Seat, arguments: list[str], says: str) -> None:
    done = seat.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{says} (--help tells more)\n"


def test_help_needs_no_environment_and_has_an_example(seat: Seat) -> None:
    done = seat.run("--help", VIRTUAL_ENV="/nowhere")
    assert done.returncode == 0
    assert "main/scripts/start_celery_and_flower.sh --port 5556 -- --concurrency 4" in done.stdout


def test_a_taken_port_is_said_before_anything_starts(seat: Seat) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = seat.run("--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"start: Flower can't have port {port} on 127.0.0.1: Address already in use; choose another with --port\n"
    )


def test_a_broker_without_a_result_backend_is_refused_when_it_was_asked_for(
    seat: Seat, flower_port: str, nothing_on_localhost: None
) -> None:
    done = seat.run("--port", flower_port, CELERY_BROKER_URL="amqp://guest:secret@127.0.0.1:1//")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "start: CELERY_BROKER_URL is set, but there is no Redis: set CELERY_RESULT_BACKEND, or start it: "
        "docker run --name redis -d -p 6379:6379 redis (docker start redis, if it is there already)\n"
    )


def test_a_server_that_never_answers_is_named_without_its_password(seat: Seat, flower_port: str) -> None:
    broker = f"amqp://me:secret@127.0.0.1:{free_port()}//"
    done = seat.run(
        *("--port", flower_port, "--wait", "1"), CELERY_BROKER_URL=broker, CELERY_RESULT_BACKEND="redis://127.0.0.1:1"
    )
    assert done.returncode == 5
    assert "did not answer within 1 s: [Errno 111] Connection refused. Is it running?" in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_it_can_be_stopped_while_it_waits(seat: Seat, flower_port: str) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    servers = {"CELERY_BROKER_URL": f"amqp://{nobody}//", "CELERY_RESULT_BACKEND": f"redis://{nobody}/0"}
    with seat.started("--port", flower_port, **servers) as running:
        running.says("waiting for the broker at amqp://")
        running.ctrl_c()
        assert running.ends(within_s=10) == 0
        assert running.processes() == []


@pytest.mark.parametrize("url", ["nonsense", "amqp://me:sec/ret@host//", "amqp://me:secret@host:x//"])
def test_what_is_no_url_is_not_quoted(seat: Seat, flower_port: str, url: str) -> None:
    done = seat.run("--port", flower_port, CELERY_BROKER_URL=url, CELERY_RESULT_BACKEND="redis://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("start: CELERY_BROKER_URL can't be read as a URL like amqp://")
    assert "sec" not in done.stderr.replace("second", "")


def test_a_result_backend_that_is_no_redis_is_refused(seat: Seat, flower_port: str, amqp_url: str) -> None:
    done = seat.run("--port", flower_port, CELERY_BROKER_URL=amqp_url, CELERY_RESULT_BACKEND="rpc://")
    assert done.returncode == 2
    assert "CELERY_RESULT_BACKEND is no Redis: set it, or COLLECTORS_LEDGER, to a Redis's URL" in done.stderr


def test_a_refused_password_is_not_waited_for(seat: Seat, flower_port: str, amqp_url: str) -> None:
    host, port = _network_address(amqp_url)
    broker = f"amqp://nobody:secret@{host}:{port}//"
    done = seat.run("--port", flower_port, CELERY_BROKER_URL=broker, CELERY_RESULT_BACKEND="redis://127.0.0.1:1")
    assert done.returncode == 2
    assert "ACCESS_REFUSED" in done.stderr
    assert "secret" not in done.stdout + done.stderr


# Where it looks


def test_the_environment_wins_over_containers(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    seat.docker("echo 127.0.0.9")
    monkeypatch.setenv("PATH", seat.env["PATH"])
    found = servers.find(RABBITMQ, {"CELERY_BROKER_URL": "redis://:secret@host/0"})
    assert str(found) == "the broker at redis://:**@host/0 (CELERY_BROKER_URL)"


def test_containers_win_over_localhost(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    seat.docker("""[ "$1" = inspect ] && [ "$4" = redis ] && echo '127.0.0.9 127.0.0.10 '""")
    monkeypatch.setenv("PATH", seat.env["PATH"])
    assert str(servers.find(REDIS, {})) == "Redis at redis://127.0.0.9:6379/0 (container redis)"


@pytest.mark.parametrize(
    "docker", [NO_ENGINE, "echo", "echo '[]'; echo 'Error: No such object: redis' >&2; exit 1", "exec sleep 60"]
)
def test_no_engine_no_container_and_a_stopped_one_count_as_none(
    seat: Seat, monkeypatch: pytest.MonkeyPatch, docker: str
) -> None:
    seat.docker(docker)
    monkeypatch.setenv("PATH", seat.env["PATH"])
    monkeypatch.setattr(servers, "_DOCKER_PATIENCE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as here:
        kind = servers.Kind("Redis", "", "X", here.getsockname()[1], "redis://{host}:1/0")
        assert str(servers.find(kind, {})) == "Redis at redis://localhost:1/0 (localhost)"
    assert servers.find(kind, {}) is None


def test_no_docker_at_all_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert servers.find(servers.Kind("Redis", "", "X", free_port(), "redis://{host}:1/0"), {}) is None


# Flower's password


def test_the_password_is_made_once_and_only_its_owner_can_read_it(seat: Seat) -> None:
    first, second = flower_login.kept(seat.login_file), flower_login.kept(seat.login_file)
    assert (first.is_new, second.is_new, first.text) == (True, False, second.text)
    assert seat.login_file.stat().st_mode & 0o777 == 0o600
    password = first.text.removeprefix("collectors:")
    assert len(password) >= 20
    assert password in str(first)
    assert password not in str(second)


@pytest.mark.parametrize("spoiled", ["readable", "empty", "link"])
def test_a_password_that_others_may_know_is_made_again(seat: Seat, spoiled: str) -> None:
    first = flower_login.kept(seat.login_file)
    if spoiled == "readable":
        seat.login_file.chmod(0o644)
    elif spoiled == "empty":
        seat.login_file.write_text("")
    else:
        elsewhere = seat.login_file.rename(seat.folder / "elsewhere")
        seat.login_file.symlink_to(elsewhere)
    again = flower_login.kept(seat.login_file)
    assert again.is_new
    assert again.text != first.text
    assert seat.login_file.lstat().st_mode & 0o777 == 0o600


# The whole of it


def test_the_app_has_on_what_flower_needs() -> None:
    """Its buttons and its columns; the script's ``--task-events`` alone says nothing of who asked."""
    from main.celery_app import app

    assert app.conf.worker_send_task_events
    assert app.conf.task_send_sent_event
    assert app.conf.worker_pool_restarts


@pytest.mark.heavy
def test_with_nothing_around_it_takes_the_embedded_engine_and_leaves_nothing_behind(
    seat: Seat, flower_port: str, nothing_on_localhost: None
) -> None:
    """From a clone whose path has a space, with everything in the environment that could open Flower."""
    clone = _clone(seat.folder / "a clone")
    trap = clone / "flowerconfig.py"
    trap.write_text("import pathlib; pathlib.Path(__file__).with_name('executed').touch()\n", encoding="utf-8")
    script = clone / "main" / "scripts" / "start_celery_and_flower.sh"
    open_to_all = {"FLOWER_UNAUTHENTICATED_API": "true", "FLOWER_ADDRESS": "0.0.0.0", "FLOWER_CONF": str(trap)}
    with seat.started("--port", flower_port, "--app", "slow_app", script=script, **open_to_all) as running:
        running.says("taking the embedded engine: there is no RabbitMQ and no Redis in the environment, in containers")
        password = running.says(r"user collectors, password (\S+) \(shown this once, kept in (.+)\)")
        running.says(r"ready: Flower answers at http://127\.0\.0\.1:\d+ and knows the worker")

        assert seat.login_file.read_text(encoding="utf-8") == f"collectors:{password[1]}\n"
        assert str(seat.login_file) == password[2]
        assert not [p for p in running.processes() if password[1] in " ".join(p.cmdline())]
        assert "FLOWER_BASIC_AUTH" not in running.main_process(" worker ").environ()
        listening = [c for p in running.processes() for c in p.net_connections("inet") if c.status == "LISTEN"]
        assert {(c.laddr.ip, c.laddr.port) for c in listening} == {("127.0.0.1", int(flower_port))}
        assert Flower(int(flower_port), None).status("/api/workers") == 401
        assert not (clone / "executed").exists()

        assert running.processes("valkey-server")  # or "nothing is left" would prove nothing
        assert len(running.processes()) >= 6
        running.process.terminate()
        assert running.ends() == 0
        assert running.processes() == []
    with seat.started("--port", flower_port, "--app", "slow_app", script=script) as again:
        again.says(rf"user collectors, password in {seat.login_file}")
        again.process.terminate()
        assert again.ends() == 0
        assert again.processes() == []
        assert password[1] not in again.output


def _clone(folder: Path) -> Path:
    shutil.copytree(ROOT / "main", folder / "main")
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    shutil.copy(ROOT / "tests" / "main" / "slow_app.py", folder)
    return folder


@pytest.mark.heavy
def test_containers_are_waited_for_and_whatever_dies_comes_back(
    seat: Seat, flower_port: str, amqp_url: str, redis_url: str
) -> None:
    """The containers' addresses lead to the tests' own servers, and to RabbitMQ's only once it was waited for."""
    address = f"127.{os.getpid() % 250 + 2}.7.9"
    seat.docker(f"""[ "$1" = inspect ] && echo {address}""")
    with ExitStack() as held:
        held.enter_context(forwarded((address, REDIS.port), _network_address(redis_url)))
        running = held.enter_context(seat.started("--port", flower_port, *APP, "--", "-c", "1"))
        running.says(rf"taking RabbitMQ at amqp://guest:\*\*@{address}:5672// \(container rabbitmq\) and Redis at ")
        running.says("waiting for RabbitMQ at .*: .*Connection refused")
        held.enter_context(forwarded((address, RABBITMQ.port), _network_address(amqp_url)))
        running.says("ready: Flower answers")
        running.says("concurrency: 1")

        running.main_process(" worker ").kill()
        running.says("the worker ended with status -9: started again")
        running.main_process(" flower ").kill()
        running.says("Flower ended with status -9: started again")
        running.says("main@.* ready", times=2)
        until(lambda: _listens(int(flower_port)), "Flower's return")

        running.ctrl_c()
        assert running.ends() == 0
        assert "start: stopped" in running.output
        assert running.processes() == []


@pytest.mark.heavy
def test_killed_itself_it_leaves_nothing_behind(seat: Seat, flower_port: str, nothing_on_localhost: None) -> None:
    with seat.started("--port", flower_port, *APP) as running:
        running.says("ready: Flower answers")
        running.process.kill()
        until(lambda: running.processes() == [], "the end of all", within_s=10)


@pytest.mark.heavy
def test_a_second_ctrl_c_does_not_wait_for_what_runs(seat: Seat, flower_port: str, nothing_on_localhost: None) -> None:
    """And what it says for another terminal works there."""
    with seat.started("--port", flower_port, *APP) as running:
        export = running.says("for another terminal: (export .*)")[1]
        ask = "from tests.main.slow_app import collectors; collectors.request('60', deadline=90)"
        line = f"{export}; {shlex.quote(sys.executable)} -c {shlex.quote(ask)}"
        subprocess.run(["bash", "-c", line], cwd=ROOT, env=seat.env, timeout=30, check=True)
        running.says(r"Task tests\.main\.slow_app\.sleeps\[.*\] received")
        running.says("main@.* ready")
        running.ctrl_c()
        running.says("stopping: what the worker runs has 10 s to end; Ctrl-C again ends it at once")
        running.ctrl_c()
        assert running.ends(within_s=8) == 0
        assert running.processes() == []


@pytest.mark.heavy
def test_a_worker_that_only_crashes_ends_it(seat: Seat, flower_port: str, nothing_on_localhost: None) -> None:
    with seat.started("--port", flower_port, *APP, "--", "--no-such-option") as running:
        assert running.ends(within_s=80) == 1  # five starts of Celery, and 7.5 s between them
        assert "the worker ended 5 times within 10 s of its start, the last time with status 2" in running.output
        assert running.processes() == []


@pytest.mark.heavy
def test_servers_on_localhost_are_taken_and_one_alone_is_passed_over(
    seat: Seat, flower_port: str, nothing_on_localhost: None, amqp_url: str, redis_url: str
) -> None:
    with ExitStack() as held:
        held.enter_context(forwarded(("127.0.0.1", REDIS.port), _network_address(redis_url)))
        with seat.started("--port", flower_port, *APP) as running:
            running.says(
                r"taking the embedded engine: there is Redis at redis://localhost:6379/0 \(localhost\), but no "
                "RabbitMQ. To use both: docker run --name rabbitmq -d -p 5672:5672 rabbitmq "
            )
            running.process.send_signal(signal.SIGTERM)
            assert running.ends() == 0
        held.enter_context(forwarded(("127.0.0.1", RABBITMQ.port), _network_address(amqp_url)))
        with seat.started("--port", flower_port, *APP) as running:
            running.says(r"taking RabbitMQ at amqp://guest:\*\*@localhost:5672// \(localhost\) and Redis at redis://")
            running.says("main@.* ready")
            running.says("for another terminal: export ")  # the app looks there by itself, but `collectors` does not
            running.ctrl_c()
            assert running.ends() == 0
