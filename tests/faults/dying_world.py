"""A copy of the dying app that shares nothing with others on the same servers, so that many can die side by side."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from types import ModuleType
from typing import Any

from celery_collectors import Collectors
from celery_collectors.events import Event
from celery_collectors.model import RUN_ENDED
from tests.faults import crash_points
from tests.integration.apps import SESSION, on_the_broker, session
from tests.integration.conftest import ROOT, Engine, _delete, until

MODULE = "tests.faults.dying_app"
_numbers = count(1)


class World:
    """One copy of the app: its queue, its ledger, its notes, its workers.

    Args:
        engine: Whose servers it uses.
        point: Where a process dies, of ``POINTS``.
        who: Which: the ``child`` that executes, the whole ``worker``, the ``client``.
        many: How many more collectors its processes have, for the topic ``many``.
        settings: Those of its processes, and of who asks from here.
    """

    def __init__(
        self, engine: Engine, point: str = "", who: str = "child", *, many: int = 0, **settings: float
    ) -> None:
        word = f"{session()}-{next(_numbers)}"
        self._engine = engine
        self.folder = engine.notes / word
        self.folder.mkdir()
        mine = {crash_points.POINT: point, crash_points.WHO: who, crash_points.FOLDER: str(self.folder), SESSION: word}
        mine["DYING_APP_MANY"] = str(many)
        self._env = mine | {f"COLLECTORS_{name.upper()}": str(value) for name, value in settings.items()}
        self.app = _copy_of_the_app(self._env | {crash_points.POINT: ""})  # a client that asks from here does not die
        self.collectors: Collectors = self.app.collectors
        self.collectors.configure(ledger=engine.setup.ledger_url, **settings)
        self.workers: list[subprocess.Popen[bytes]] = []

    def arm(self) -> None:
        """From now on it dies at its point."""
        (self.folder / crash_points.ARMED).touch()

    def worker(self, pool: str = "prefork", concurrency: int = 1, *args: str) -> subprocess.Popen[bytes]:
        """Start a worker, without waiting for it."""
        command = [sys.executable, "-m", "celery", "-A", MODULE, "worker", "-P", pool, "-c", str(concurrency)]
        command += ["-n", f"w{len(self.workers)}@{self.folder.name}", "-l", "INFO", "--without-gossip"]
        process = self._start([*command, "--without-mingle", *args], f"worker{len(self.workers)}.log")
        self.workers.append(process)
        return process

    def client(self, program: str) -> subprocess.Popen[bytes]:
        """Start a program that asks; ``app`` is the app's module in it."""
        return self._start(
            [sys.executable, "-c", f"from tests.faults import dying_app as app\n{program}"], "client.log"
        )

    def _start(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(command, env=self._engine.env(**self._env), cwd=ROOT, stdout=output, stderr=output)

    def struck_at(self) -> float:
        """Wait until somebody has died at the point; when that was, in seconds since 1970."""
        path = self.folder / crash_points.STRUCK
        try:
            until(path.exists, f"a process dies {self._env[crash_points.POINT]}", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}; its processes said:\n{self.logs()}") from None
        return path.stat().st_mtime

    def forget_notes(self) -> None:
        """Count from nothing again."""
        for path in self.folder.iterdir():
            if path.suffix != ".log":
                path.unlink()

    def noted(self, word: str) -> list[str]:
        """The lines of a note."""
        path = self.folder / word
        return path.read_text().splitlines() if path.exists() else []

    def logs(self) -> str:
        """All that its processes said."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def close(self) -> None:
        """End its workers, and leave nothing on the broker; its ledger goes with the engine's."""
        for worker in self.workers:
            worker.kill()
            worker.wait(10)
        self.collectors.close()
        if self._engine.setup.broker_url.startswith("amqp"):
            with self._engine.connection() as connection:
                _delete(connection.default_channel, *on_the_broker("dying_app", self._env))


@contextmanager
def world(engine: Engine, point: str = "", who: str = "child", **options: Any) -> Iterator[World]:
    """A world that is gone when the block ends."""
    found = World(engine, point, who, **options)
    try:
        yield found
    finally:
        found.close()


def _copy_of_the_app(env: Mapping[str, str]) -> ModuleType:
    """The environment is one for all threads, and others of them are starting processes, so a copy is told its own."""
    spec = importlib.util.find_spec(MODULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__["env"] = env
    spec.loader.exec_module(module)
    return module


def is_in_order(events: Iterator[Event]) -> bool:
    """Whether no stage began before all runs had ended, or before the one ahead of it was committed."""
    running: set[str] = set()
    begun = False
    for event in events:
        if event.subject == "run":
            if begun:
                return False
            (running.discard if event.state in RUN_ENDED else running.add)(event.name)
        elif event.subject == "stage" and event.state == "running":
            begun = True
            if running - {event.name}:
                return False
            running = {event.name}
        elif event.subject == "stage":
            running.discard(event.name)
    return begun
