"""The engine's ``celery worker``: it imports Celery while Valkey starts, and begins once that answers.

``python -m celery_collectors.embedded.celery_worker SOCKET worker …`` is ``celery worker …``. To import all that takes
most of a worker's start, and nothing of it needs a server; Celery itself would try to connect, and wait 2 s after the
first time in vain.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celery import maybe_patch_concurrency

from celery_collectors.embedded import wire

_POLL_S = 0.01


def main(argv: Sequence[str]) -> None:
    """Be ``celery``, and end with its status.

    Args:
        argv: The server's socket, then what ``celery`` is called with.
    """
    socket, *arguments = argv
    sys.argv = ["celery", *arguments]
    gc.disable()  # it takes a seventh of the time of imports, and finds nothing
    maybe_patch_concurrency()  # gevent and eventlet want to be first, and Celery finds them in these
    from celery.bin.celery import main as be_celery
    from celery.signals import celeryd_init

    celeryd_init.connect(_collect_garbage, weak=False)  # by then the app is imported, too
    while not wire.answers(Path(socket)):
        time.sleep(_POLL_S)
    sys.exit(be_celery())


def _collect_garbage(**_: Any) -> None:
    gc.enable()


if __name__ == "__main__":
    main(sys.argv[1:])
