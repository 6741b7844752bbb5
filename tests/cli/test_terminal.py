"""The live view, on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import PATIENCE_S, Shell

ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A pseudo-terminal with a command in its foreground."""

    def __init__(self, shell: Shell, *arguments: str, columns: int = 80) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "celery_collectors.cli", *arguments],
            cwd=shell.project,
            env=shell.env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one system call
        )
        os.close(slave)
        self.text = ""

    def read_until(self, pattern: str) -> None:
        """Read what is drawn until something shows up."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline_s, f"{pattern!r} not in {self.text}"
            assert self._read(), f"ended without {pattern!r}: {self.text}"

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 0.5)
        if not ready:
            return True
        try:
            self.text += os.read(self._master, 65536).decode()
        except OSError:  # Linux's word for a terminal that everybody has left
            return False
        return True

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def done(self) -> int:
        while self._read():
            pass
        assert "Traceback" not in self.text
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        os.close(self._master)


@pytest.fixture
def terminals(warm: Shell) -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_every_subcollector_has_a_line(warm: Shell, terminals: list[Terminal]) -> None:
    terminal = Terminal(warm, "--app", "shop", "collect", "both:gate1")
    terminals.append(terminal)
    terminal.read_until("slow.*running")
    terminal.read_until("sour.*failed")
    (warm.project / "gate1").touch()
    assert terminal.done() == 3
    plain = ESCAPE.sub("", terminal.text)
    assert re.search(r"both:.*  collecting  [\d.]+ s of 30.0 s", plain)
    assert re.search(r"▸ +slow +running +[\d.]+ s", plain)
    assert re.search(r"✗ +sour +failed +[\d.]+ s +refused", plain)
    assert re.search(r"◐ partial  1 of 2 answered", plain)
    assert "title\x07" not in terminal.text
    assert COLOUR.search(terminal.text)


def test_a_narrow_terminal_is_never_overrun(warm: Shell, terminals: list[Terminal], tmp_path: Path) -> None:
    terminal = Terminal(warm, "--app", "shop", "collect", f"both:{tmp_path}/gate", columns=40)
    terminals.append(terminal)
    terminal.read_until("sour.*failed")
    terminal.read_until("slow.*running")
    (tmp_path / "gate").touch()
    assert terminal.done() == 3
    drawn = [line for line in ESCAPE.sub("", terminal.text).splitlines() if re.match(r"[▸·✗✓]|both:", line)]
    assert drawn
    assert max(len(line) for line in drawn) <= 40


def test_the_report_comes_last_where_a_long_answer_would_push_it_away(warm: Shell, terminals: list[Terminal]) -> None:
    terminal = Terminal(warm, "--app", "shop", "collect", "fast:food")
    terminals.append(terminal)
    assert terminal.done() == 0
    plain = ESCAPE.sub("", terminal.text)
    assert plain.index('"items": [') < plain.index("complete  2 of 2 answered")


def test_a_terminal_without_utf_8_gets_the_answer_too(warm: Shell, terminals: list[Terminal]) -> None:
    warm.variables |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    terminal = Terminal(warm, "--app", "shop", "collect", "fast:food")
    terminals.append(terminal)
    assert terminal.done() == 0
    assert "[red]\\xe9" in ESCAPE.sub("", terminal.text)


def test_no_color_is_respected(warm: Shell, terminals: list[Terminal]) -> None:
    warm.variables["NO_COLOR"] = "1"
    terminal = Terminal(warm, "--app", "shop", "collect", "sour:grapes")
    terminals.append(terminal)
    assert terminal.done() == 3
    colours = {found for found in COLOUR.findall(terminal.text) if re.search(r"[34]\d", found)}
    assert not colours


@pytest.mark.parametrize("no_color", ["", "1"])
def test_names_have_a_colour_unless_nobody_wants_any(warm: Shell, terminals: list[Terminal], no_color: str) -> None:
    warm.variables["NO_COLOR"] = no_color
    terminal = Terminal(warm, "--app", "shop", "up", "--no-web", "--no-flower", "--concurrency", "1")
    terminals.append(terminal)
    terminal.read_until("Ctrl-C stops all")
    terminal.press("\x03")
    assert terminal.done() == 0
    assert bool(re.search(r"\x1b\[3\dm *(up|worker): ", terminal.text)) != bool(no_color)


def test_ctrl_c_once_and_twice(warm: Shell, terminals: list[Terminal], tmp_path: Path) -> None:
    for presses, code in ((1, 130), (2, 7)):
        terminal = Terminal(warm, "--app", "shop", "collect", f"slow:{tmp_path}/gate{presses}", "--deadline", "2m")
        terminals.append(terminal)
        terminal.read_until("slow .*running")
        terminal.press("\x03")
        if presses == 2:
            terminal.read_until("press Ctrl-C again")
            terminal.press("\x03")
        assert terminal.done() == code
        (tmp_path / f"gate{presses}").touch()
