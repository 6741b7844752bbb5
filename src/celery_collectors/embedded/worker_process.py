"""The engine's Celery worker: started when wanted, again when it crashes, not for ever if it only crashes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from celery_collectors.embedded import logs
from celery_collectors.embedded.state import WorkerState

STOP_TIMEOUT_S = 3.0
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 10.0
QUICK_CRASH_S = 10.0
CRASHES_TOLERATED = 5
_CELERY = "celery_collectors.embedded.celery_worker"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorkerCommand:
    """How the worker is started."""

    app: str
    project: Path
    socket: Path
    environment: Mapping[str, str]
    log_path: Path

    def argv(self, number: int) -> list[str]:
        """The command line; every start has its own number, because two workers of one name confuse Celery."""
        name = f"embedded-{os.getpid()}-{number}@%h"
        return [sys.executable, "-m", _CELERY, str(self.socket), self.app, name, str(default_concurrency())]

    def start(self, number: int) -> subprocess.Popen[bytes]:
        """Start it, its output appended to the log."""
        with self.log_path.open("ab") as output:
            return subprocess.Popen(
                self.argv(number),
                cwd=self.project,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )


class KeptWorker:
    """Keeps one worker alive while it is wanted.

    A worker that is no longer wanted gets a few seconds to end, in which another may be started beside it:
    whoever comes back at once need not wait for the old one.
    """

    def __init__(self, command: WorkerCommand) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._retiring: list[tuple[subprocess.Popen[bytes], float]] = []
        self._number = 0
        self._started_s = 0.0
        self._due_s = 0.0
        self._log_since_bytes = 0
        self._wanted = False
        self.crashes = 0

    @property
    def pid(self) -> int | None:
        """The worker's process id, while it has one."""
        return self._process.pid if self._process else None

    @property
    def gone(self) -> bool:
        """No worker is left, not even one that is ending."""
        return self._process is None and not self._retiring

    @property
    def state(self) -> WorkerState:
        """How it is, in one word."""
        if self._process:
            return "running"
        if self._wanted:
            return "crash-loop" if self._given_up else "starting"
        return "stopping" if self._retiring else "off"

    @property
    def log_tail(self) -> tuple[str, ...]:
        """What the last worker said, once it has been given up on."""
        if not self._given_up:
            return ()
        return tuple(logs.tail(self._command.log_path, lines=20, since_bytes=self._log_since_bytes))

    def tick(self, *, wanted: bool) -> None:
        """Do what is due: notice a crash, start it, let it end, end it."""
        self._wanted = wanted
        self._notice_a_crash()
        if not wanted:
            self._retire()
        elif self._process is None and not self._given_up and time.monotonic() >= self._due_s:
            self._start()
        self._end_the_retiring()

    def stop(self) -> None:
        """End every worker, and wait for it."""
        self.tick(wanted=False)
        while not self.gone:
            time.sleep(0.02)
            self._end_the_retiring()

    @property
    def _given_up(self) -> bool:
        return self.crashes >= CRASHES_TOLERATED

    def _start(self) -> None:
        self._number += 1
        self._started_s = time.monotonic()
        self._log_since_bytes = logs.size_bytes(self._command.log_path)
        self._process = self._command.start(self._number)
        log.info("worker %s started (process %s)", self._number, self._process.pid)

    def _notice_a_crash(self) -> None:
        if self._process is None or self._process.poll() is None:
            return
        quick = time.monotonic() - self._started_s < QUICK_CRASH_S
        self.crashes = self.crashes + 1 if quick else 1
        backoff_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (self.crashes - 1))
        self._due_s = time.monotonic() + backoff_s
        log.error("the worker ended (status %s), crash %s", self._process.returncode, self.crashes)
        self._process = None

    def _retire(self) -> None:
        self.crashes = 0
        self._due_s = 0.0
        if self._process:
            self._process.terminate()
            self._retiring.append((self._process, time.monotonic() + STOP_TIMEOUT_S))
            self._process = None

    def _end_the_retiring(self) -> None:
        self._retiring = [(process, end_s) for process, end_s in self._retiring if process.poll() is None]
        for process, end_s in self._retiring:
            if time.monotonic() >= end_s:
                log.warning("worker process %s did not end in %s s: killed", process.pid, STOP_TIMEOUT_S)
                process.kill()


def default_concurrency() -> int:
    """Sources are waited for more than computed: more slots than a small machine has processors."""
    return min(8, max(4, os.cpu_count() or 4))
