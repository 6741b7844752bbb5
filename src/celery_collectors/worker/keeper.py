"""Keeps the leases of what this process runs: one daemon thread, one call for all of them.

Not the main process and no hub timer: both are blind or stopped while the broker is away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from celery_collectors.errors import LedgerUnavailable
from celery_collectors.ledger import Grant, Held, Ledger

log = logging.getLogger(__name__)

POLL_S = 0.5
ASKING_S = 2.0
GOES_ALONE = "goes alone"  # as start.lua says it


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
        self._alone: Held | None = None
        self._alone_until = 0.0
        self._is_asked = False
        self._thread: threading.Thread | None = None

    def fetch(self, ask: Callable[[bool], Grant]) -> Grant:
        """Ask the ledger for a lease; what goes alone keeps others that do so out, until it is dropped.

        Args:
            ask: Asks, and is told whether nothing that goes alone is here, or may just be coming; called once more if
                it was refused only for the latter.
        """
        if not self._takes_turn():
            grant = ask(False)
            if grant.reason != GOES_ALONE or not self._gets_turn():
                return grant
        try:
            grant = ask(True)
            if grant.go and grant.alone:
                self._goes_alone(grant)
        finally:
            with self._changed:
                self._is_asked = False
                self._changed.notify_all()
        return grant

    def _takes_turn(self) -> bool:
        with self._changed:
            return self._may_ask()

    def _gets_turn(self) -> bool:
        """Wait while others only ask: in a busy process somebody always does, and it would never have its turn."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_asked, ASKING_S)
            return self._may_ask()

    def _may_ask(self) -> bool:
        if self._is_asked or self._has_one_alone():
            return False
        self._is_asked = True
        return True

    def _goes_alone(self, grant: Grant) -> None:
        self._alone, self._alone_until = grant.held, time.monotonic() + grant.ends_in_ms / 1000

    def _has_one_alone(self) -> bool:
        """Never beyond its time: whatever befell it then, nobody may be kept out for ever."""
        return self._alone is not None and time.monotonic() < self._alone_until

    def hold(self, held: Held, on_gone: Callable[[str], None]) -> None:
        """Keep a lease; ``on_gone(reason)`` is called, once, when the ledger says to stop."""
        self.hold_all({held: on_gone})

    def hold_all(self, held: Mapping[Held, Callable[[str], None]]) -> None:
        """Keep several leases, each with what is called when it is gone."""
        with self._changed:
            self._held.update(held)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="collectors-keeper", daemon=True)
                thread.start()  # which may fail: then the next lease tries again
                self._thread = thread
            self._changed.notify_all()

    def drop(self, *held: Held) -> None:
        """Stop keeping leases."""
        with self._changed:
            for one in held:
                self._held.pop(one, None)
            if self._alone in held:
                self._alone = None
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
