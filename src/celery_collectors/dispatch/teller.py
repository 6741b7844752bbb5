"""Tells the ledger what was sent and confirmed: a moment later, for many messages in one call.

What has been started by then needs no telling, which is most of it; nor does anybody wait for the broker's confirms.
Telling late, or never, is harmless: what was handed out comes again after 15 s, and whoever gets the second copy is
told that there is nothing to do.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading

from celery_collectors.dispatch.dispatcher import Dispatcher
from celery_collectors.errors import UnavailableError
from celery_collectors.ledger import Ledger, Order

log = logging.getLogger(__name__)

PAUSE_S = 0.5


class Teller:
    """One daemon thread, started with the first message.

    Args:
        dispatcher: What sends.
        ledger: What is told.
    """

    def __init__(self, dispatcher: Dispatcher, ledger: Ledger) -> None:
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._asked = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def soon(self) -> None:
        """Tell what there is to tell in a moment."""
        self._asked.set()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="collectors-teller", daemon=True)
                self._thread.start()
                atexit.register(self.flush)

    def flush(self) -> None:
        """Tell it now, as at the end of a process; not that of a fork, to which the connection does not belong."""
        if os.getpid() == self._pid:
            self._tell(self._dispatcher.store_results())

    def close(self) -> None:
        """Tell it now, and end the thread."""
        self.flush()
        self._closed.set()
        self._asked.set()
        atexit.unregister(self.flush)

    def _tell(self, stored: list[Order]) -> None:
        try:
            self._ledger.published([*stored, *self._dispatcher.take_confirmed()])
        except UnavailableError as error:
            log.warning("messages were sent, and whether they arrived is not known; they come again: %s", error)

    def _run(self) -> None:
        while not self._closed.is_set():
            self._asked.wait()
            self._asked.clear()
            try:
                stored = self._dispatcher.store_results()  # for these somebody may wait
                self._closed.wait(PAUSE_S)
                self._tell(stored)
            except Exception:
                log.exception("what was sent could not be told to the ledger")
