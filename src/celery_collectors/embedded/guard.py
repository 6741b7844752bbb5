"""The guard: a tiny process that ends the engine's whole process group once the supervisor is gone.

Its standard input is a pipe whose other end only the supervisor holds. However the supervisor dies, the
kernel closes that end, ``read`` returns, and ``kill -9 0`` ends every member of the guard's own group, the
guard included; because it is a member itself, the group's number can't have passed to anybody else.
This needs no more than POSIX, and no pid file. It ignores the polite signals, so that one sent to the whole
group leaves the supervisor time to stop its children in order.
"""

from __future__ import annotations

import logging
import os
import subprocess

from celery_collectors.errors import EngineError

_SCRIPT = "trap '' HUP INT TERM; read -r _; kill -9 0"

log = logging.getLogger(__name__)


class Guard:
    """Keeps one guard process alive."""

    def __init__(self) -> None:
        if os.getpgrp() != os.getpid():  # else it would kill whoever shares our group, a shell perhaps
            raise EngineError("the supervisor must lead its own process group: start it by using an engine")
        self._process = self._start()

    def tick(self) -> None:
        """Replace the guard if somebody killed it."""
        if self._process.poll() is not None:
            log.warning("the guard ended (status %s): started another", self._process.returncode)
            self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "celery-collectors-guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
