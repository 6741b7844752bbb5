"""The engine's ``celery worker``: it imports what it needs while Valkey starts, and begins once that answers.

``python -m celery_collectors.embedded.celery_worker SOCKET APP NAME PROCESSES`` is ``celery -A APP worker -n NAME -c
PROCESSES``, but made without Celery's command line, whose import is a fifth of a worker's start: a shell, a highlighter
and what other packages add to it. Most of the rest is imports, too, and nothing of them needs a server; Celery itself
would try to connect, and wait 2 s after the first time in vain.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery_collectors.embedded import wire

if TYPE_CHECKING:
    from celery import Celery

_POLL_S = 0.01
# What every app of ours, its worker and its pool need. The app itself may want a server when it is imported.
_NEEDED = ("celery.apps.worker", "celery.concurrency.prefork", "kombu.transport.redis", "celery_collectors.collectors")


def main(argv: Sequence[str]) -> None:
    """Be a worker, and end with its status.

    Args:
        argv: The server's socket, how Celery finds the app, the worker's name, how many processes it has.
    """
    socket, name, node, processes = argv
    # As Celery's own would be: processes are titled by it, and an app may look at it.
    sys.argv = ["celery", "-A", name, "worker", "-n", node, "-c", processes, "-l", "INFO"]
    sys.argv += ["--without-mingle", "--without-gossip"]
    gc.disable()  # it takes a seventh of the time of imports, and finds nothing
    for module in _NEEDED:
        import_module(module)
    while not wire.answers(Path(socket)):
        time.sleep(_POLL_S)
    _work(name, node, int(processes))


def _work(name: str, node: str, processes: int) -> None:
    from celery.app.utils import find_app
    from celery.signals import worker_process_init
    from celery.utils.nodenames import host_format

    worker_process_init.connect(_end_with(os.getpid()), weak=False)
    app: Celery = find_app(name)
    if any(app.user_options.values()):  # only Celery's command line knows what to do with an app's own options
        from celery.bin.celery import main as be_celery

        gc.enable()
        sys.exit(be_celery())
    worker = app.Worker(
        hostname=host_format(node), concurrency=processes, loglevel="INFO", without_mingle=True, without_gossip=True
    )
    gc.enable()
    gc.freeze()  # what was imported stays; Celery collects garbage before each fork, 0.05 s if it had to look at that
    worker.start()
    sys.exit(worker.exitcode)


def _end_with(worker_pid: int) -> Callable[..., None]:
    """Celery has the kernel end a pool's process with its worker, but asks for that a moment after the fork."""

    def end_if_left_behind(**_: Any) -> None:
        if os.getppid() != worker_pid:
            os._exit(1)

    return end_if_left_behind


if __name__ == "__main__":
    main(sys.argv[1:])
