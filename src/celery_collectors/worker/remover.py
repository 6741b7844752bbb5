"""Removes stored values that nobody needs any more, beside the sweeping: a slow store must not hold that up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from celery_collectors.errors import CollectorsError
from celery_collectors.ledger.storing import key_of
from celery_collectors.worker.process import Process

log = logging.getLogger(__name__)


class Remover:
    """Looks through shards in a thread of its own, one round at a time.

    Args:
        process: Whose connections are used.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._free = threading.Semaphore()

    def look_through(self, shards: Sequence[str]) -> None:
        """Look through these shards, unless the round before still goes on: then they come again."""
        if shards and self._free.acquire(blocking=False):
            try:
                threading.Thread(target=self._run, args=(shards,), name="collectors-remover", daemon=True).start()
            except RuntimeError:  # out of memory or threads, for now
                self._free.release()
                raise

    def _run(self, shards: Sequence[str]) -> None:
        try:
            for shard in shards:
                self._look_through(shard)
        except CollectorsError as error:
            log.warning("stored values that nobody needs are removed later: %s", error)
        except Exception:
            log.exception("stored values that nobody needs could not be removed; they come again")
        finally:
            self._free.release()

    def _look_through(self, shard: str) -> None:
        gone: Sequence[str] = ()
        while True:
            found = self._process.ledger.sift(shard, gone)
            if found.unwanted:
                self._process.store.blobs.delete([key_of(shard, entry) for entry in found.unwanted])
            elif not found.more:
                return
            gone = found.unwanted
