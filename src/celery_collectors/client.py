"""The connections of a process that asks: its ledger, its reader, its sender of messages."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celery import Celery

from celery_collectors.dispatch import Dispatcher
from celery_collectors.errors import UnavailableError
from celery_collectors.ledger import Ledger, Order
from celery_collectors.ledger.reading import Reader
from celery_collectors.payloads import PayloadStore
from celery_collectors.settings import Settings

log = logging.getLogger(__name__)

PATIENCE_S = 2.0  # somebody waits for the answer, if only to hear that there is none


class Client:
    """One client process's connections, opened when first needed.

    Args:
        app: The Celery app whose broker is used.
        ledger_url: Where the ledger is.
        settings: The settings.
    """

    def __init__(self, app: Celery, ledger_url: str, settings: Settings) -> None:
        self.ledger = Ledger.from_url(ledger_url, settings, patience_s=PATIENCE_S)
        self.reader = Reader(self.ledger, PayloadStore.of(self.ledger.client, settings))
        self._dispatcher = Dispatcher(app, self.ledger)

    def publish(self, orders: Sequence[Order]) -> None:
        """Publish; while that can't be done, the request waits in the ledger."""
        try:
            self._dispatcher.publish(orders)
        except UnavailableError as error:
            log.warning("accepted, and waiting in the ledger: %s", error)

    def close(self) -> None:
        """Close the connections; they open again when needed."""
        self._dispatcher.close()
        self.ledger.client.close()
