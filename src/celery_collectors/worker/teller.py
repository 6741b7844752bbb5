"""Tells the ledger what was sent: a moment later, for many messages in one call.

What has been started by then needs no telling, which is most of it. Telling late, or never, is harmless: what was
handed out comes again after 15 s, and whoever gets the second copy is told that there is nothing to do.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from celery_collectors.errors import LedgerUnavailable
from celery_collectors.ledger import Ledger, Order

log = logging.getLogger(__name__)

PAUSE_S = 0.5


class Teller:
    """One daemon thread, started with the first message.

    Args:
        ledger: What is told.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._sent: list[Order] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def tell(self, sent: Iterable[Order]) -> None:
        """Take what was sent."""
        with self._changed:
            self._sent += sent
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="collectors-teller", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Tell what there is to tell now, as at the end of a process."""
        with self._changed:
            sent, self._sent = self._sent, []
        try:
            self._ledger.published(sent)
        except LedgerUnavailable as error:
            log.warning("%d messages were sent, and the ledger could not be told: %s", len(sent), error)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            with self._changed:
                while not self._sent:
                    self._changed.wait()
            pause.wait(PAUSE_S)
            try:
                self.flush()
            except Exception:
                log.exception("what was sent could not be told to the ledger")
