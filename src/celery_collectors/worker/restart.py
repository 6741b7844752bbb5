"""A worker whose own process is full of hung threads: it takes no more messages, ends what it runs, and starts again.

A pool child is replaced by its main process. The process of a threads or solo worker *is* the main process, so it
replaces itself in place: the same program under the same process id. A terminal, systemd, docker and our own
supervisors see one worker that goes on, and none of them counts a crash. Where the program can't be started again its
process ends, with the status by which a pool child asks to be replaced (155), for whoever brings it back.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from typing import Any

from billiard.pool import EX_RECYCLE
from celery.worker import state

from celery_collectors.worker import began
from celery_collectors.worker.process import Runtime

log = logging.getLogger(__name__)

END_S = 10.0  # what a worker's end may take once nothing runs any more
POLL_S = 0.2


class Restart:
    """Replaces this worker's own process, once, when it is called.

    Args:
        runtime: Of this worker; made in the thread that runs the worker.
        worker: Celery's. One that another program runs in a thread of its own, as tests do, is left running.
    """

    def __init__(self, runtime: Runtime, worker: Any) -> None:
        from celery.apps.worker import Worker  # a worker has it; whoever only asks would wait 50 ms for it

        self._runtime = runtime
        self._is_program = isinstance(worker, Worker) and threading.current_thread() is threading.main_thread()
        self._once = threading.Lock()
        if self._is_program:
            atexit.register(_again_if_wanted, os.getpid())  # early, and so after whatever is registered later

    def __call__(self, hanging: int) -> None:
        """Say loudly why, and begin to end; ``hanging`` threads are the reason."""
        if is_told_to_stop() or not self._once.acquire(blocking=False):
            return
        if not self._is_program:
            log.critical("%d threads of this worker hang: whoever runs it should end it and start another", hanging)
            return
        log.critical(
            "%d threads of this worker hang in code that did not end in time: it takes no more messages, ends what it "
            "runs, and starts again. Give that code's own calls a timeout, or use --pool prefork, where one process "
            "of several is replaced",
            hanging,
        )
        state.should_stop = EX_RECYCLE
        threading.Thread(target=self._see_to_it, name="collectors-restart", daemon=True).start()

    def _see_to_it(self) -> None:
        """Also if the orderly end hangs: it waits for every thread that is not a daemon's, whatever that does."""
        pause = threading.Event()
        while self._runs_something():
            pause.wait(POLL_S)
        pause.wait(END_S)
        if is_restarting():
            log.warning("the end of this worker takes more than %.0f s: it is cut short", END_S)
            _again_if_wanted(os.getpid())
            os._exit(EX_RECYCLE)

    def _runs_something(self) -> bool:
        process = self._runtime.here()
        own = any(request.id not in process.stuck for request in tuple(state.active_requests))
        return own or bool(process.keeper.held())


def is_restarting() -> bool:
    """Whether this worker ends in order to start again, and nobody has told it to stay away meanwhile."""
    return bool(state.should_stop == EX_RECYCLE and not state.should_terminate)


def is_told_to_stop() -> bool:
    """Whether a person or a signal has told this worker to end."""
    flags = (state.should_stop, state.should_terminate)
    return any(flag is not None and flag is not False for flag in flags) and not is_restarting()


def _again_if_wanted(pid: int) -> None:
    if os.getpid() != pid or not is_restarting() or not sys.executable:
        return
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        os.chdir(began.FOLDER)  # what its arguments say may be meant from there
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError as error:
        log.critical("this worker could not be started again, and ends: %s", error)
