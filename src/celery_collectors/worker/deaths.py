"""What a worker's main process sees of its pool: a child that died with a run in its hands."""

from __future__ import annotations

import logging
import queue
import socket
import threading
from typing import Any

from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker import request as celery_request

from celery_collectors.dispatch import HEADER
from celery_collectors.errors import CollectorsError
from celery_collectors.worker.process import Process, Runtime

log = logging.getLogger(__name__)

DEATHS = (WorkerLostError, Terminated, TimeLimitExceeded)


class Request(celery_request.Request):  # type: ignore[misc]
    """Celery's request, which also notes a death. It never raises and never waits: the hub's thread is in it."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Note the death, then do what Celery does."""
        cause = getattr(exc_info.exception, "exc", exc_info.exception)
        order = self._request_dict.get(HEADER)
        if order and not return_ok and isinstance(cause, DEATHS) and self.worker_pid:
            runtime: Runtime = self.task.collectors_runtime
            runtime.deaths.put((order, self.worker_pid))
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)


class Reporter(threading.Thread):
    """Tells the ledger of deaths, so that their runs go on at once instead of when the lease lapses."""

    def __init__(self, process: Process) -> None:
        super().__init__(name="collectors-deaths", daemon=True)
        self._process = process
        self._notes: queue.SimpleQueue[Any] = process.runtime.deaths

    def run(self) -> None:
        """Report for ever."""
        while True:
            order, pid = self._notes.get()
            try:
                self._report(order, pid)
            except CollectorsError as error:
                log.warning("a death could not be reported; the lease will lapse instead: %s", error)
            except Exception:
                log.exception("a death could not be reported; the lease will lapse instead")

    def _report(self, order: dict[str, Any], pid: int) -> None:
        reply = self._process.ledger.died(order, f"{socket.gethostname()}:{pid}:")
        if reply.kept:
            log.warning("%s %s: its process %d died", order["request_id"], order["ref"], pid)
        self._process.publish(reply.orders)
