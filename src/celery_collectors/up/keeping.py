"""Processes kept running: started again when they end, stopped together, never left behind.

They and the guard are one process group of their own, so that a terminal's Ctrl-C reaches only this process,
which then stops them in order. The guard's standard input is a pipe whose other end only this process holds:
however this process dies, the kernel closes that end, and the guard ends the whole group, itself included.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from celery_collectors.errors import GivenUp
from celery_collectors.up.parts import Part

QUICK_END_S = 10.0
QUICK_ENDS_TOLERATED = 5
FIRST_BACKOFF_S = 0.5

_TICK_S = 0.1
_LAST_LINES_S = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GUARD = "trap '' HUP INT TERM; read -r _; kill -9 0"

Say = Callable[[str, str], None]
"""Prints a line under a name; ours is the empty one."""


class Told(KeyboardInterrupt):
    """Somebody asked to stop before anything had started.

    Not ``KeyboardInterrupt`` itself: where that strikes in code that is made from a string, as that of dataclasses is,
    CPython ends a ``python -m`` by SIGINT, though it was caught.
    """


@dataclass
class Stop:
    """How often somebody asked to stop: once is a request, twice is impatience.

    Until :attr:`started` is set there is nothing to stop in order, and asking raises :class:`Told`.
    """

    times: int = 0
    started: bool = False

    def listen(self) -> None:
        """Hear Ctrl-C, a polite kill, and the terminal's end unless ``nohup`` said otherwise.

        Whoever became this program may have kept them back until now.
        """
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._heard)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _heard(self, _number: int, _frame: object) -> None:
        self.times += 1
        if not self.started:
            raise Told


@dataclass
class _Kept:
    """One process that is started again whenever it ends."""

    part: Part
    group: int
    say: Say
    process: subprocess.Popen[bytes] | None = None
    readers: list[threading.Thread] = field(default_factory=list)
    _last_words: deque[str] = field(default_factory=lambda: deque(maxlen=1))
    _quick_ends: int = 0
    _started_s: float = 0.0
    _due_s: float = 0.0

    def tick(self) -> None:
        """Notice its end; start it when it is due."""
        if self.process and self.process.poll() is not None:
            self._ended(self.process.returncode)
        if not self.process and time.monotonic() >= self._due_s:
            self.start()

    def start(self) -> None:
        """Start it, and say what it prints."""
        self._started_s = time.monotonic()
        self.process = subprocess.Popen(
            self.part.argv,
            env=dict(self.part.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=self.group,
        )
        reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        reader.start()
        self.readers = [*(one for one in self.readers if one.is_alive()), reader]

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for raw in output:
                if line := raw.decode(errors="replace").rstrip():
                    self._last_words.append(line)
                    self.say(self.part.label, line)

    def _ended(self, status: int) -> None:
        """Back at once if it had run for a while: somebody shut it down, or something rare happened."""
        self.process = None
        quick = time.monotonic() - self._started_s < QUICK_END_S
        self._quick_ends = self._quick_ends + 1 if quick else 0
        if self._quick_ends >= QUICK_ENDS_TOLERATED:
            raise self._given_up(status)
        pause_s = FIRST_BACKOFF_S * 2 ** (self._quick_ends - 1) if quick else 0.0
        self._due_s = time.monotonic() + pause_s
        soon = f"in {pause_s:g} s" if quick else "at once"
        self.say("", f"{self.part.name} ended with status {status}: started again {soon}")

    def _given_up(self, status: int) -> GivenUp:
        for reader in self.readers:
            reader.join(_LAST_LINES_S)
        said = f"; it said: {self._last_words[0]}" if self._last_words else ""
        return GivenUp(
            f"{self.part.name} ended {self._quick_ends} times within {QUICK_END_S:.0f} s of its start, "
            f"the last time with status {status}{said}"
        )


def keep_running(parts: Sequence[Part], *, stop: Stop, grace_s: float, say: Say) -> None:
    """Run these until somebody asks to stop; when this returns or raises, none of them is left.

    Args:
        parts: What to run.
        stop: Asked to stop?
        grace_s: How long they may take to end, in seconds; a second request to stop ends them at once.
        say: Prints a line.

    Raises:
        GivenUp: if one of them ends again and again as soon as it has started.
    """
    with _group(parts, stop=stop, grace_s=grace_s, say=say) as (guard, children):
        stop.started = True
        while not stop.times:
            _refuse_without(guard)
            for child in children:
                child.tick()
            time.sleep(_TICK_S)


def run_once(part: Part, *, stop: Stop, grace_s: float, say: Say) -> int:
    """Run one until it ends or somebody asks to stop, and return its status; nothing of it is left.

    Takes what :func:`keep_running` takes.
    """
    with _group([part], stop=stop, grace_s=grace_s, say=say) as (guard, (child,)):
        stop.started = True
        child.start()
        assert child.process is not None
        while not stop.times and child.process.poll() is None:
            _refuse_without(guard)
            time.sleep(_TICK_S)
    return 0 if stop.times else int(child.process.returncode)


def _refuse_without(guard: subprocess.Popen[bytes]) -> None:
    if _has_ended(guard):
        raise GivenUp("the guard, which sees to it that nothing is left behind, was killed")


@contextmanager
def _group(
    parts: Sequence[Part], *, stop: Stop, grace_s: float, say: Say
) -> Iterator[tuple[subprocess.Popen[bytes], Sequence[_Kept]]]:
    guard = _start_guard()
    children = [_Kept(part, guard.pid, say) for part in parts]
    try:
        yield guard, children
    finally:
        _end(children, stop=stop, grace_s=grace_s, say=say)
        _dismiss(guard, children)


def _start_guard() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "celery-collectors-guard"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def _end(children: Sequence[_Kept], *, stop: Stop, grace_s: float, say: Say) -> None:
    """Ask each to end; after a while, or when asked again, don't ask."""
    processes = {child.part.name: child.process for child in children if child.process and child.process.poll() is None}
    workers = [name for name in processes if "worker" in name]
    if stop.times and workers:
        runs = "the workers run" if len(workers) > 1 else "the worker runs"
        say("", f"stopping: what {runs} has {grace_s:g} s to end; Ctrl-C again ends it at once")
    for process in processes.values():
        process.terminate()
    end_s, asked = time.monotonic() + grace_s, stop.times
    while running := [name for name, process in processes.items() if process.poll() is None]:
        if time.monotonic() >= end_s or stop.times > max(asked, 1):
            say("", f"{' and '.join(running)} did not end: killed")
            break
        time.sleep(_TICK_S)


def _dismiss(guard: subprocess.Popen[bytes], children: Sequence[_Kept]) -> None:
    """End the whole group, the guard included: a worker that was killed may have left its pool behind."""
    os.killpg(guard.pid, signal.SIGKILL)
    guard.wait()
    for child in children:
        if child.process:
            child.process.wait()
        for reader in child.readers:
            reader.join(_LAST_LINES_S)


def _has_ended(guard: subprocess.Popen[bytes]) -> bool:
    """Without taking note of it: until the guard is waited for, its number, the group's, can't pass to anybody else."""
    return os.waitid(os.P_PID, guard.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
