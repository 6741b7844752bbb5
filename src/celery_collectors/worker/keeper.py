"""Keeps the leases of what this process runs: one daemon thread, one call for all of them.

Not the main process and no hub timer: both are blind or stopped while the broker is away.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from celery_collectors.errors import LedgerUnavailable
from celery_collectors.ledger import Grant, Held, Ledger

log = logging.getLogger(__name__)

POLL_S = 0.5


class Keeper:
    """Renews leases every ``renew_s`` seconds while anything is held.

    Args:
        ledger: Where the leases are.
        owner: This process's name in them.
        renew_s: Seconds between renewals.
    """

    def __init__(self, ledger: Ledger, owner: str, renew_s: float) -> None:
        self._ledger = ledger
        self._owner = owner
        self._renew_s = renew_s
        self._held: dict[Held, Callable[[str], None]] = {}
        self._changed = threading.Condition()
        self._turn_alone = threading.Lock()
        self._alone: Held | None = None
        self._thread: threading.Thread | None = None

    def fetch(self, ask: Callable[[bool], Grant]) -> Grant:
        """Ask the ledger for a lease; what goes alone keeps others that do so out, until it is dropped.

        Args:
            ask: Asks, and is told whether nothing that goes alone is here.
        """
        if not self._turn_alone.acquire(blocking=False):
            return ask(False)
        goes_alone = False
        try:
            grant = ask(True)
            goes_alone = grant.go and grant.alone
        finally:
            if not goes_alone:
                self._turn_alone.release()
        if goes_alone:
            self._alone = grant.held
        return grant

    def hold(self, held: Held, on_gone: Callable[[str], None]) -> None:
        """Keep a lease; ``on_gone(reason)`` is called, once, when the ledger says to stop."""
        self.hold_all({held: on_gone})

    def hold_all(self, held: Mapping[Held, Callable[[str], None]]) -> None:
        """Keep several leases, each with what is called when it is gone."""
        with self._changed:
            self._held.update(held)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="collectors-keeper", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def drop(self, *held: Held) -> None:
        """Stop keeping leases."""
        with self._changed:
            for one in held:
                self._held.pop(one, None)
            if self._alone in held:
                self._alone = None
                self._turn_alone.release()
            self._changed.notify_all()

    def wait_until_empty(self, *, while_true: Callable[[], bool] = lambda: True) -> None:
        """Wait until nothing is held; every run has its time limit, so that comes."""
        with self._changed:
            while self._held and while_true():
                self._changed.wait(POLL_S)

    def held(self) -> list[Held]:
        """What is held now."""
        with self._changed:
            return list(self._held)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            with self._changed:
                while not self._held:
                    self._changed.wait()
            pause.wait(self._renew_s)
            try:
                self._renew()
            except LedgerUnavailable as error:
                log.warning("leases could not be renewed, trying again: %s", error)
            except Exception:
                log.exception("leases could not be renewed, trying again")

    def _renew(self) -> None:
        for held, reason in self._ledger.renew(self._owner, self.held()):
            with self._changed:
                on_gone = self._held.pop(held, None)
                self._changed.notify_all()
            if on_gone is not None:
                log.info("%s %s: told to stop: %s", held.request_id, held.ref, reason)
                on_gone(reason)
