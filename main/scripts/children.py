"""Two processes kept running: started again when they end, stopped together, never left behind.

They and the guard are one process group of their own, so that a terminal's Ctrl-C reaches only this process,
which then stops them in order. The guard's standard input is a pipe whose other end only this process holds:
however this process dies, the kernel closes that end, and the guard ends the whole group, itself included.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

QUICK_END_S = 10.0
QUICK_ENDS_TOLERATED = 5
FIRST_BACKOFF_S = 0.5

_TICK_S = 0.1
_GUARD = "trap '' HUP INT TERM; read -r _; kill -9 0"


class GivenUp(Exception):
    """Going on would not help; the message says why."""


@dataclass(frozen=True)
class Command:
    """What to run, and its name for people."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]


@dataclass
class _Kept:
    """One process that is started again whenever it ends."""

    command: Command
    group: int
    say: Callable[[str], None]
    process: subprocess.Popen[bytes] | None = None
    _quick_ends: int = 0
    _started_s: float = 0.0
    _due_s: float = 0.0

    def tick(self) -> None:
        """Notice its end; start it when it is due."""
        if self.process and self.process.poll() is not None:
            self._ended(self.process.returncode)
        if not self.process and time.monotonic() >= self._due_s:
            self._started_s = time.monotonic()
            self.process = subprocess.Popen(
                self.command.argv, env=dict(self.command.env), stdin=subprocess.DEVNULL, process_group=self.group
            )

    def _ended(self, status: int) -> None:
        """Back at once if it had run for a while: somebody shut it down, or something rare happened."""
        self.process = None
        quick = time.monotonic() - self._started_s < QUICK_END_S
        self._quick_ends = self._quick_ends + 1 if quick else 0
        if self._quick_ends >= QUICK_ENDS_TOLERATED:
            raise GivenUp(
                f"{self.command.name} ended {self._quick_ends} times within {QUICK_END_S:.0f} s of its start, "
                f"the last time with status {status}: what it printed says why"
            )
        pause_s = FIRST_BACKOFF_S * 2 ** (self._quick_ends - 1) if quick else 0.0
        self._due_s = time.monotonic() + pause_s
        soon = f"in {pause_s:g} s" if quick else "at once"
        self.say(f"{self.command.name} ended with status {status}: started again {soon}")


@dataclass
class Stop:
    """How often somebody asked to stop: once is a request, twice is impatience."""

    times: int = 0

    def listen(self) -> None:
        """Hear Ctrl-C, a polite kill, and the terminal's end unless ``nohup`` said otherwise."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._heard)

    def _heard(self, _number: int, _frame: object) -> None:
        self.times += 1


def keep_running(commands: Sequence[Command], *, stop: Stop, grace_s: float, say: Callable[[str], None]) -> None:
    """Run the commands until somebody asks to stop; when this returns or raises, none of them is left.

    Args:
        commands: What to run.
        stop: Asked to stop?
        grace_s: How long they may take to end, in seconds; a second request to stop ends them at once.
        say: Prints a line.

    Raises:
        GivenUp: if one of them ends again and again as soon as it has started.
    """
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # inherited: a background group may write under `stty tostop`
    guard = _start_guard()
    children = [_Kept(command, guard.pid, say) for command in commands]
    try:
        while not stop.times:
            if _has_ended(guard):
                raise GivenUp("the guard, which sees to it that nothing is left behind, was killed")
            for child in children:
                child.tick()
            time.sleep(_TICK_S)
    finally:
        _end(children, stop=stop, grace_s=grace_s, say=say)
        _dismiss(guard, children)


def _start_guard() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "celery-and-flower-guard"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def _end(children: Sequence[_Kept], *, stop: Stop, grace_s: float, say: Callable[[str], None]) -> None:
    """Ask each to end; after a while, or when asked again, don't ask."""
    processes = {child.command.name: child.process for child in children if child.process}
    if stop.times:
        say(f"stopping: what the worker runs has {grace_s:g} s to end; Ctrl-C again ends it at once")
    for process in processes.values():
        process.terminate()
    end_s, asked = time.monotonic() + grace_s, stop.times
    while running := [name for name, process in processes.items() if process.poll() is None]:
        if time.monotonic() >= end_s or stop.times > max(asked, 1):
            say(f"{' and '.join(running)} did not end: killed")
            break
        time.sleep(_TICK_S)


def _dismiss(guard: subprocess.Popen[bytes], children: Sequence[_Kept]) -> None:
    """End the whole group, the guard included: a worker that was killed may have left its pool behind."""
    os.killpg(guard.pid, signal.SIGKILL)
    guard.wait()
    for child in children:
        if child.process:
            child.process.wait()


def _has_ended(guard: subprocess.Popen[bytes]) -> bool:
    """Without taking note of it: until the guard is waited for, its number, the group's, can't pass to anybody else."""
    return os.waitid(os.P_PID, guard.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
