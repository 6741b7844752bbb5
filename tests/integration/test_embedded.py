"""The embedded engine, with real processes: who starts it, who ends it, and what a kill -9 leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis
from celery import Celery

from celery_collectors import embedded
from celery_collectors.embedded import EngineStatus, default_home, logs
from celery_collectors.embedded.detached import Detached
from celery_collectors.embedded.home import Home
from celery_collectors.embedded.locks import Lock
from celery_collectors.errors import EngineError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the embedded engine needs a POSIX system")

# What a project might say about its own broker and backend: neither is there, and the engine must not mind.
APP = """
import gc, os, time
from pathlib import Path
from celery import Celery

app = Celery("tinyapp", broker="amqp://127.0.0.1:1//", backend="redis://127.0.0.1:1/0")

@app.task(ignore_result=True)
def note(path):
    Path(path).write_text(os.environ["COLLECTORS_LEDGER"])

@app.task(ignore_result=True)
def collects_garbage(path):
    Path(path).write_text(f"{gc.isenabled()} {gc.get_freeze_count() > 10_000}")

@app.task(ignore_result=True)
def linger(path, seconds):
    Path(path).touch()
    time.sleep(seconds)
"""

OPTION = """
from celery import bootsteps
from click import Option

app.user_options["worker"].add(Option(("--colour",), default="blue"))

@app.steps["worker"].add
class Paint(bootsteps.Step):
    def __init__(self, worker, colour, **more):
        Path("colour").write_text(colour)
"""

CLIENT = """
import sys
from pathlib import Path
from celery_collectors.embedded import status, use

home, project, worker = sys.argv[1:]
with use(home, app="tinyapp", project=Path(project), worker=worker == "worker", start_timeout_s=30):
    print(status(home).supervisor_pid, flush=True)
    sys.stdin.read()
"""

COMES_AND_GOES = """
import random, sys, time
from pathlib import Path
import redis
from celery_collectors.embedded import status, use

home, project, times = sys.argv[1:]
for _ in range(int(times)):
    with use(home, app="tinyapp", project=Path(project), worker=False, start_timeout_s=30) as addresses:
        redis.Redis.from_url(addresses.ledger_url).incr("visits")
        print(status(home).supervisor_pid, flush=True)
    time.sleep(random.choice((0, 0.24, 0.27, 0.3, 0.35)))
"""

SUPERVISOR = """
import os, sys
from pathlib import Path
from celery_collectors.embedded.home import Home
from celery_collectors.embedded.locks import Lock
from celery_collectors.embedded.locks import Lock
from celery_collectors.embedded.supervisor import Supervisor
from celery_collectors.embedded.worker_process import WorkerCommand

home, answer = Home(Path(sys.argv[1])), Path(sys.argv[2])
lock = Lock(home.engine_lock)
assert lock.try_exclusive()
environment = os.environ | {"CELERY_BROKER_URL": f"redis+socket://{home.socket}", "COLLECTORS_LEDGER": "none"}
command = WorkerCommand(
    app="tinyapp", project=Path.cwd(), socket=home.socket, environment=environment, log_path=home.worker_log
)
sys.exit(Supervisor(home, engine_lock=lock, command=command, is_final=lambda _: answer.exists()).run())
"""


def until(condition: Callable[[], object], what: str, within_s: float = 15.0) -> None:
    """Wait for something that will come about by itself."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        time.sleep(0.02)


def group(supervisor_pid: int) -> list[str]:
    """The engine's living processes, all of which are in its supervisor's process group."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == supervisor_pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {process.name()}")
    return found


def alive(process: psutil.Process) -> bool:
    """A zombie is dead: only its parent hasn't asked yet."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


class Engine:
    """A home and a project for one test."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = root / "project"
        self.supervisors: set[int] = set()
        self._clients: list[subprocess.Popen[str]] = []
        self.project.mkdir()
        (self.project / "tinyapp.py").write_text(APP)

    def use(self, worker: bool = True, **more: object):  # type: ignore[no-untyped-def]
        settings = {"app": "tinyapp", "project": self.project, "start_timeout_s": 30.0} | more
        return embedded.use(self.home, worker=worker, **settings)  # type: ignore[arg-type]

    def status(self) -> EngineStatus:
        said = embedded.status(self.home)
        if said.supervisor_pid:
            self.supervisors.add(said.supervisor_pid)
        return said

    def supervisor_pid(self) -> int:
        pid = self.status().supervisor_pid
        assert pid
        return pid

    def guard(self) -> psutil.Process | None:
        """The living guard, if there is one just now."""
        for child in psutil.Process(self.supervisor_pid()).children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if alive(child) and "celery-collectors-guard" in child.cmdline():
                    return child
        return None

    def worker_pool(self) -> list[psutil.Process]:
        """The worker's children, once they are there."""
        until(lambda: self.status().worker == "running", "a worker")
        worker = psutil.Process(self.status().worker_pid)
        until(lambda: len(worker.children()) >= 4, "the worker's pool")
        return worker.children()

    def script(self, text: str, *args: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", text, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.project,
            text=True,
            start_new_session=True,
        )
        self._clients.append(process)
        return process

    def client(self, worker: str = "worker") -> subprocess.Popen[str]:
        """Another process that uses the engine until its standard input ends."""
        return self.script(CLIENT, self.home, self.project, worker)

    def until_stopped(self, within_s: float = 15.0) -> None:
        until(lambda: self.status().state == "stopped", "the engine has stopped", within_s)
        for pid in self.supervisors:
            until(lambda pid=pid: not group(pid), f"group {pid} is empty: {group(pid)}", within_s=3)

    def clean_up(self) -> None:
        """End only what this test has started."""
        with suppress(AssertionError):
            self.status()
        for process in self._clients:
            process.kill()
            process.communicate()
        for pid in self.supervisors:
            if group(pid):  # whoever tests an orderly end has waited for it
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(AssertionError):
                until(lambda pid=pid: not group(pid), "its end", within_s=2)
            if group(pid):
                os.killpg(pid, signal.SIGKILL)


@pytest.fixture
def engine() -> Iterator[Engine]:
    root = Path(tempfile.mkdtemp(prefix="ce-", dir="/tmp"))  # pytest's own folders are too long for a socket
    made = Engine(root)
    yield made
    made.clean_up()
    shutil.rmtree(root, ignore_errors=True)


def ledger(addresses: embedded.Addresses) -> redis.Redis:
    return redis.Redis.from_url(addresses.ledger_url, decode_responses=True)


def left(process: subprocess.Popen[str]) -> None:
    """Have a client leave in order."""
    process.communicate(timeout=30)
    assert process.returncode == 0


def send(engine: Engine, task: str, *args: object) -> None:
    """Send a task the way a client in another process would."""
    app = Celery(broker=embedded.Addresses(engine.home / "valkey.sock").broker_url)
    with app:
        app.send_task(f"tinyapp.{task}", [str(arg) for arg in args[:1]] + list(args[1:]), ignore_result=True)


# Who starts it and who ends it


def test_the_first_user_starts_it_and_the_last_ends_it(engine: Engine) -> None:
    assert engine.status().state == "stopped"
    with engine.use(worker=False) as addresses:
        pid = engine.supervisor_pid()
        assert ledger(addresses).ping()
        with engine.use(worker=False) as found:
            assert found == addresses
            assert engine.supervisor_pid() == pid
        assert engine.status().worker == "off"
    engine.until_stopped(within_s=3)
    assert not addresses.socket.exists()


def test_its_folder_is_private_and_has_no_port(engine: Engine) -> None:
    engine.home.mkdir(mode=0o755)
    with engine.use(worker=False):
        assert engine.home.stat().st_mode & 0o777 == 0o700
        assert (engine.home / "valkey.sock").stat().st_mode & 0o777 == 0o700
        server = psutil.Process(engine.status().valkey_pid)
        assert [c for c in server.net_connections() if c.family != socket.AF_UNIX] == []


def test_twenty_clients_at_once_share_one(engine: Engine) -> None:
    clients = [engine.client("no worker") for _ in range(20)]
    pids = {client.stdout.readline() for client in clients if client.stdout}
    assert pids == {f"{engine.supervisor_pid()}\n"}
    for client in clients:
        left(client)
    engine.until_stopped(within_s=5)


@pytest.mark.heavy
def test_clients_that_come_and_go_never_miss_it(engine: Engine) -> None:
    """Each comes about when the last engine decides to stop: nobody may find it gone."""
    clients = [engine.script(COMES_AND_GOES, engine.home, engine.project, 8) for _ in range(4)]
    said = [client.communicate(timeout=90)[0] for client in clients]
    assert [client.returncode for client in clients] == [0] * 4
    engine.supervisors |= {int(pid) for pid in "".join(said).split()}
    assert len(engine.supervisors) > 3, "the engine never stopped in between: this test has shown nothing"
    with engine.use(worker=False) as addresses:
        assert ledger(addresses).get("visits") == "32"


@pytest.mark.heavy
def test_who_arrives_while_it_stops_waits_for_the_next(engine: Engine) -> None:
    with engine.use(worker=False):
        pid = engine.supervisor_pid()
        server = psutil.Process(engine.status().valkey_pid)
        server.suspend()  # so that stopping takes long enough to be looked at
    until(lambda: engine.status().state == "stopping", "it is stopping")
    with Lock(engine.home / "users.lock") as users:
        assert not users.try_shared(), "the supervisor must keep the lock until its end"
    with pytest.raises(EngineError, match="still stopping"), engine.use(start_timeout_s=0.1):
        pass
    server.resume()
    with engine.use(worker=False):
        assert engine.supervisor_pid() != pid


@pytest.mark.heavy
def test_its_worker_runs_the_apps_tasks_whatever_broker_the_app_names(engine: Engine) -> None:
    out = engine.project / "out"
    with engine.use() as addresses:
        send(engine, "note", out)
        until(out.exists, "the task has run")
        until(out.read_text, "the task has written")
        assert out.read_text() == addresses.ledger_url
        out.unlink()
        send(engine, "collects_garbage", out)
        until(lambda: out.exists() and out.read_text(), "another has run")
        assert out.read_text() == "True True", "but for what was imported, and off only while that is"
    engine.until_stopped(within_s=8)


@pytest.mark.heavy
def test_an_app_with_options_of_its_own_for_celery_worker_gets_them(engine: Engine) -> None:
    (engine.project / "tinyapp.py").write_text(APP + OPTION)
    with engine.use():
        out = engine.project / "colour"
        until(lambda: out.exists() and out.read_text() == "blue", "the app's own step has begun")
        send(engine, "note", engine.project / "out")
        until((engine.project / "out").exists, "the task has run")
    engine.until_stopped(within_s=8)


def test_the_worker_is_started_before_the_server(engine: Engine) -> None:
    with engine.use():
        until(lambda: engine.status().worker == "running", "a worker")
        said = (engine.home / "supervisor.log").read_text()
    assert said.index("worker 1 started") < said.index("Valkey started")


def test_the_worker_waits_for_the_server(tmp_path: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix="ce-", dir="/tmp")) / "s"
    command = [sys.executable, "-m", "celery_collectors.embedded.celery_worker", str(place), "no_such_app", "w", "1"]
    with socket.socket(socket.AF_UNIX) as server, (tmp_path / "said").open("w+b") as said:
        server.bind(str(place))
        server.listen()
        server.settimeout(30)
        process = subprocess.Popen(command, stdout=said, stderr=said)
        for answer in (b"-LOADING it loads its data\r\n", b"+PONG\r\n"):
            assert process.poll() is None
            assert (tmp_path / "said").read_text() == ""
            asked, _ = server.accept()
            asked.sendall(answer)
            asked.close()
        assert process.wait(30) == 1
        assert "No module named 'no_such_app'" in (tmp_path / "said").read_text()
    shutil.rmtree(place.parent)


@pytest.mark.heavy
def test_who_comes_back_while_the_worker_ends_finds_it_running(engine: Engine) -> None:
    with engine.use():
        pid = engine.supervisor_pid()
        first = engine.worker_pool()[0].ppid()
    with engine.use(worker=False):
        until(lambda: engine.status().worker == "stopping", "the worker is ending")
        with engine.use():
            until(lambda: engine.status().worker_pid not in (None, first), "another worker")
            assert engine.supervisor_pid() == pid
            send(engine, "note", engine.project / "out")
            until((engine.project / "out").exists, "the task has run")


@pytest.mark.heavy
def test_a_request_that_was_detached_keeps_it_alive_until_it_is_final(engine: Engine) -> None:
    answer = engine.project / "final"
    Home(engine.home).make()
    embedded.detach(engine.home, "some-request")
    supervisor = engine.script(SUPERVISOR, engine.home, answer)
    out = engine.project / "out"
    until(lambda: engine.status().worker == "running", "a worker, though nobody uses it")
    engine.supervisor_pid()
    send(engine, "note", out)
    until(out.exists, "the task has run")
    assert supervisor.poll() is None
    answer.touch()
    engine.until_stopped(within_s=8)
    assert list((engine.home / "detached").iterdir()) == []


@pytest.mark.heavy
def test_a_request_that_the_ledger_does_not_know_keeps_nothing_alive(engine: Engine) -> None:
    with engine.use(worker=False):
        embedded.detach(engine.home, "0198c0de-0000-7000-8000-000000000000")
        engine.supervisor_pid()
    engine.until_stopped(within_s=10)


@pytest.mark.heavy
def test_a_ledger_that_cannot_be_asked_is_no_answer(engine: Engine) -> None:
    def away(_: str) -> bool:
        raise ConnectionError("away")

    Home(engine.home).make()
    embedded.detach(engine.home, "some-request")
    detached = Detached(engine.home / "detached", away)
    detached.forget_final()
    assert not detached.empty


# What a kill -9 leaves behind


def test_a_killed_client_leaves_nothing(engine: Engine) -> None:
    client = engine.client()
    assert client.stdout
    pid = int(client.stdout.readline())
    engine.supervisor_pid()
    send(engine, "linger", engine.project / "out", 600)
    until((engine.project / "out").exists, "a task in the middle of its work")
    client.kill()
    until(lambda: not group(pid), f"nothing is left: {group(pid)}", within_s=6)


def keep(addresses: embedded.Addresses) -> None:
    """Write something, and wait until it is in the file: while an fsync is under way, that may take two seconds."""
    client = ledger(addresses)
    client.set("kept", "yes")
    until(lambda: client.info("persistence")["aof_buffer_length"] == 0, "it is in the append-only file")


def test_a_killed_supervisor_leaves_nothing_but_the_data(engine: Engine) -> None:
    with engine.use() as addresses:
        pid = engine.supervisor_pid()
        pool = engine.worker_pool()
        keep(addresses)
        assert len(group(pid)) >= 4 + len(pool)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not group(pid), f"nothing is left: {group(pid)}", within_s=2)
        until(lambda: not any(alive(process) for process in pool), "the pool has ended", within_s=1)
        assert engine.status().state == "stopped"
        with engine.use() as again:
            assert engine.supervisor_pid() != pid
            assert ledger(again).get("kept") == "yes"


def test_a_killed_server_comes_back_with_its_data(engine: Engine) -> None:
    with engine.use(worker=False) as addresses:
        keep(addresses)
        server = engine.status().valkey_pid
        assert server
        os.kill(server, signal.SIGKILL)
        until(lambda: engine.status().valkey_pid not in (None, server), "another server")
        assert ledger(addresses).get("kept") == "yes"


@pytest.mark.heavy
def test_a_killed_worker_is_started_again(engine: Engine) -> None:
    with engine.use():
        pool = engine.worker_pool()
        worker = pool[0].ppid()
        os.kill(worker, signal.SIGKILL)
        until(lambda: engine.status().worker_pid not in (None, worker), "another worker")
        until(lambda: not any(alive(process) for process in pool), "its children have ended")
        assert engine.status().worker_crashes == 1


@pytest.mark.heavy
def test_a_killed_guard_is_replaced(engine: Engine) -> None:
    with engine.use(worker=False):
        pid = engine.supervisor_pid()
        guard = engine.guard()
        assert guard
        guard.kill()
        until(lambda: engine.guard() not in (None, guard), "another guard")
        os.kill(pid, signal.SIGKILL)
        until(lambda: not group(pid), "nothing is left", within_s=2)


@pytest.mark.heavy
def test_a_server_that_outlived_supervisor_and_guard_gives_way(engine: Engine) -> None:
    with engine.use(worker=False) as addresses:
        pid = engine.supervisor_pid()
        server = engine.status().valkey_pid
        keep(addresses)
        guard = engine.guard()
        assert guard
        os.kill(pid, signal.SIGSTOP)  # so that it can't replace the guard
        guard.kill()
        os.kill(pid, signal.SIGKILL)
        until(lambda: engine.status().state == "stopped", "the supervisor is gone")
        assert server
        assert psutil.pid_exists(server)
        with engine.use(worker=False) as again:
            assert ledger(again).get("kept") == "yes"
        until(lambda: not group(pid), f"the old server has ended: {group(pid)}")


@pytest.mark.heavy
def test_a_signal_ends_it_in_order_and_the_next_client_gets_another(engine: Engine) -> None:
    with engine.use() as addresses:
        pid = engine.supervisor_pid()
        engine.worker_pool()
        keep(addresses)
        os.killpg(pid, signal.SIGTERM)
        until(lambda: engine.status().state in ("stopping", "stopped"), "it has heard")
        with engine.use(worker=False) as again:
            assert engine.supervisor_pid() != pid
            assert ledger(again).get("kept") == "yes"
        assert group(pid) == []


@pytest.mark.heavy
def test_it_ends_when_its_folder_is_deleted(engine: Engine) -> None:
    with engine.use():
        pid = engine.supervisor_pid()
        engine.worker_pool()
        shutil.rmtree(engine.home)
        until(lambda: not group(pid), "nothing is left", within_s=8)


# What it finds in its folder


def test_a_stale_socket_and_stale_files_are_no_engine(engine: Engine) -> None:
    Home(engine.home).make()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(engine.home / "valkey.sock"))
    for name in ("engine.lock", "users.lock", "worker.lock"):
        (engine.home / name).write_text("left over\n")
    (engine.home / "status.json").write_text(f'{{"state": "running", "supervisor_pid": {os.getpid()}}}')
    assert engine.status().state == "stopped"
    with engine.use(worker=False) as addresses:
        assert ledger(addresses).ping()
        assert engine.supervisor_pid() != os.getpid()


def test_logs_that_grew_too_large_are_moved_aside(engine: Engine) -> None:
    Home(engine.home).make()
    for name in ("worker.log", "valkey.log", "supervisor.log"):
        (engine.home / name).write_bytes(b"x" * (logs.MAX_BYTES + 1))
    with engine.use(worker=False):
        for name in ("worker.log", "valkey.log", "supervisor.log"):
            assert (engine.home / f"{name}.1").stat().st_size > logs.MAX_BYTES
            assert logs.size_bytes(engine.home / name) < 10_000


# What can't work says so


@pytest.mark.heavy
def test_a_worker_that_only_crashes_is_given_up_and_reported(engine: Engine) -> None:
    (engine.project / "tinyapp.py").write_text("raise RuntimeError('no such feed')")
    with engine.use():
        until(lambda: engine.status().worker == "crash-loop", "it is given up", within_s=30)
        assert "no such feed" in "\n".join(engine.status().log_tail)
        assert engine.status().worker_crashes == 5
    engine.until_stopped(within_s=3)


def test_a_server_that_cannot_start_is_quoted(engine: Engine) -> None:
    Home(engine.home).make()
    (engine.home / "data").mkdir()
    (engine.home / "data" / "appendonlydir").write_text("not a folder")
    with pytest.raises(EngineError, match=r"Valkey did not start: .*appendonlydir"), engine.use():
        pass
    assert engine.status().error


def test_a_project_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(EngineError, match="No such file"), engine.use(project=engine.project / "nowhere"):
        pass


def test_another_app_may_not_share_the_folder(engine: Engine) -> None:
    with engine.use(worker=False):
        engine.supervisor_pid()
        with pytest.raises(EngineError, match=r"running for tinyapp .* COLLECTORS_HOME"):
            embedded.use(engine.home, app="other", project=engine.project).__enter__()


def test_every_folder_that_is_made_is_private(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        Home(tmp_path / "state" / "collectors" / "h").make()
    finally:
        os.umask(before)
    made = [tmp_path / "state", tmp_path / "state" / "collectors", tmp_path / "state" / "collectors" / "h"]
    assert [folder.stat().st_mode & 0o777 for folder in made] == [0o700] * 3


def test_somebody_elses_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    (tmp_path / "h").mkdir()
    with pytest.raises(EngineError, match="belongs to another user"):
        Home(tmp_path / "h").make()


def test_a_path_too_long_for_a_socket(engine: Engine) -> None:
    engine.home = engine.home / ("x" * 100)
    with pytest.raises(EngineError, match="shorter"), engine.use():
        pass
    assert not engine.home.exists()


@pytest.mark.parametrize("name", ["two words", "a;b", "50%", "what?", "a[b]", "a*", 'quo"te'])
def test_a_path_that_a_url_cannot_hold(engine: Engine, name: str) -> None:
    engine.home = engine.home / name
    with pytest.raises(EngineError, match="in its path"), engine.use():
        pass


def test_a_path_with_unusual_letters_works(engine: Engine) -> None:
    engine.home = engine.home.with_name("é+@(x)=,~")
    with engine.use(worker=False) as addresses, Celery(broker=addresses.broker_url) as app:
        app.connection().ensure_connection(max_retries=1)
        assert ledger(addresses).ping()


def test_a_home_that_cannot_be_written_to(engine: Engine) -> None:
    engine.home.write_text("a file, not a folder")
    with pytest.raises(EngineError, match=r"can't use .*COLLECTORS_HOME"), engine.use():
        pass
    engine.home = engine.home / "inside"
    with pytest.raises(EngineError, match=r"can't use .*COLLECTORS_HOME"), engine.use():
        pass


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_home(engine: Engine) -> None:
    engine.project.chmod(0o500)
    engine.home = engine.project / "home"
    with pytest.raises(EngineError, match=r"can't use .*Permission denied"), engine.use():
        pass


def test_somebody_elses_folder_is_left_alone(engine: Engine) -> None:
    engine.project.chmod(0o755)
    with (
        pytest.raises(EngineError, match="not an engine's"),
        embedded.use(engine.project, app="tinyapp", project=engine.project),
    ):
        pass
    assert engine.project.stat().st_mode & 0o777 == 0o755


def test_a_request_id_is_not_a_path(engine: Engine) -> None:
    with pytest.raises(EngineError, match="not a request's id"):
        embedded.detach(engine.home, "../../etc/passwd")


def test_each_project_has_a_home_of_its_own() -> None:
    env = {"HOME": "/home/me", "XDG_STATE_HOME": "relative"}
    one, other = (default_home("app", Path(folder), env) for folder in ("/srv/one", "/srv/other"))
    assert one != other
    assert one.parent == Path("/home/me/.local/state/celery-collectors")
    assert default_home("app", Path("/srv/one"), {"XDG_STATE_HOME": "/s"}).parent == Path("/s/celery-collectors")
