"""Processes that are killed by SIGKILL in the middle of the application's code: after any line, or in mid-write."""

from __future__ import annotations

import builtins
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import main

_CODE = str(Path(main.__file__).parent)


def die_at_every_line(call: Callable[[], object]) -> Iterator[int]:
    """Call in a child that is killed before its first line of ``main/``, then in one before its second, and so on.

    Gives control after every death, and ends when a child lives through it all.
    """
    for line in count():
        if not _dies(call, partial(sys.settrace, _killer(line))):
            assert line > 20, "the code was not traced"
            return
        yield line


def die_in_mid_write(call: Callable[[], object], written: int) -> None:
    """Call in a child that is killed when this many characters have reached the file, of what it wrote at once."""

    def opened(*args: Any, **kwargs: Any) -> Any:
        file = really_open(*args, **kwargs)
        file.write = _DyingWrite(file, written)
        return file

    really_open = builtins.open
    assert _dies(call, lambda: setattr(builtins, "open", opened))


class _DyingWrite:
    def __init__(self, file: Any, written: int) -> None:
        self._file, self._written = file, written

    def __call__(self, text: str) -> None:
        os.write(self._file.fileno(), text.encode()[: self._written])
        os.kill(os.getpid(), signal.SIGKILL)


def _dies(call: Callable[[], object], prepare: Callable[[], object]) -> bool:
    child = os.fork()
    if child == 0:
        _live(call, prepare)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the call failed in the child"
    return False


def _live(call: Callable[[], object], prepare: Callable[[], object]) -> None:
    code = 1
    try:
        prepare()
        call()
        code = 0
    finally:
        os._exit(code)  # not through pytest, of which this is a copy


def _killer(line: int) -> Callable[[FrameType, str, Any], Any]:
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(_CODE):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace
