"""Ctrl-C, SIGTERM and a closed terminal, without ever striking in the middle of a reply from the ledger."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECOND_WITHIN_S = 2.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Counts them. While they are not held they raise ``KeyboardInterrupt``, as Python does.

    Attributes:
        count: How many came since.
    """

    def __init__(self) -> None:
        self.count = 0
        self._held = False
        self._final = False

    def hold(self) -> None:
        """From now on only count: a request is being opened, or is open."""
        self._held = True

    def let_go(self) -> None:
        """The request is final: what is left is printing, which an interrupt may end."""
        self._held = False

    @property
    def can_come_again(self) -> bool:
        """Not after SIGTERM, nor when the terminal is gone."""
        return not self._final

    def again(self, within_s: float = SECOND_WITHIN_S) -> bool:
        """Wait a little for one more Ctrl-C; there is none to wait for if we were told to end."""
        ends_at = time.monotonic() + within_s
        while not self._final and self.count < 2 and time.monotonic() < ends_at:
            time.sleep(0.02)
        return self.count >= 2 and not self._final

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler."""
        self.count += 1
        self._final = self._final or number != signal.SIGINT
        if not self._held:
            raise KeyboardInterrupt


@contextmanager
def counted() -> Iterator[Interrupts]:
    """Count interrupts while the block lasts; a signal that the caller ignores (``nohup``) stays ignored."""
    interrupts = Interrupts()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupts.on_signal)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
