"""Does what is due: deadlines, retries, lapsed leases, lost messages, the outbox.

A daemon thread of every worker, alive while the broker is away. A short lock per shard in the ledger
leaves the sweeping to one of them; when that one dies, another's turn comes by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from celery_collectors.dispatch import PRIORITIES
from celery_collectors.errors import LedgerMismatchError, LedgerUnavailable
from celery_collectors.ledger import Ledger, Order, WorkerBeat
from celery_collectors.worker.process import Process
from celery_collectors.worker.remover import Remover

log = logging.getLogger(__name__)

BEAT_S = 5.0
PATIENCE_S = 2.0  # it comes again by itself, and whoever reads the log should hear soon that the ledger is away
AT_ONCE = 50  # claims per shard and sweep, so that one busy shard can't starve the others


Beat = Callable[[Ledger, bool], tuple[float, list[WorkerBeat]]]


class Sweeper(threading.Thread):
    """Sweeps every ``sweep_s`` seconds until stopped.

    Args:
        process: Whose connections are used.
        beat: Reports this worker to the ledger and returns ledger time (ms) and, if asked, all workers.
    """

    def __init__(self, process: Process, beat: Beat | None) -> None:
        super().__init__(name="collectors-sweeper", daemon=True)
        self._process = process
        self._ledger = Ledger.from_url(process.runtime.ledger_url(), process.settings, patience_s=PATIENCE_S)
        self._beat = beat
        self._beat_at = -BEAT_S
        self._others_until = 0.0
        self._idle: dict[str, float] = {}
        self._marks: dict[str, float] = {}
        self._stop_asked = threading.Event()
        self._sender = Sender(process)
        self._remover = Remover(process)
        self._to_sift: set[str] = set()

    def run(self) -> None:
        """Sweep until :meth:`stop`."""
        waits_for = ""
        while not self._stop_asked.is_set():
            try:
                self.sweep()
                if waits_for:
                    log.warning("the ledger is back")
                waits_for = ""
            except (LedgerUnavailable, LedgerMismatchError) as error:
                if waits_for != type(error).__name__:
                    log.error("sweeping waits: %s", error)
                waits_for = type(error).__name__
            except Exception:
                log.exception("a sweep failed; the next one follows")
            self._stop_asked.wait(self._process.settings.sweep_s)

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stop_asked.set()

    def sweep(self) -> None:
        """Do once what is due on every shard."""
        shards = self._to_sweep()
        if is_beat := time.monotonic() - self._beat_at >= BEAT_S:
            self._meet(everyone=bool(shards))
        lost = self._lost() if is_beat else None  # is looked for in each queue, and so not at every sweep
        # Deadlines first: a broker that is away makes publishing slow, and must not make an answer late.
        self._sender.send([order for shard in shards for order in self._claim(shard, lost)])
        self._remover.look_through(sorted(self._to_sift))
        self._to_sift.clear()

    def _to_sweep(self) -> Sequence[str]:
        """The shards to sweep now; while it is another's turn, that is not looked at before it may be over."""
        if time.monotonic() < self._others_until:
            return ()
        shards, others_s = self._ledger.to_sweep(self._process.owner)
        self._others_until = time.monotonic() + others_s
        return shards

    def _meet(self, everyone: bool) -> None:
        """Report this worker, and hear which queues had nothing to do, if that is of use here."""
        if self._beat is not None:
            self._say_if_emptied()
            now_ms, workers = self._beat(self._ledger, everyone)
            self._idle = idle_stamps(workers, now_ms, self._process.settings.backlog_s)
        self._beat_at = time.monotonic()

    def _lost(self) -> dict[str, float]:
        """Up to which publication stamp what waits is lost, because its queue has moved on or had nothing to do."""
        return {name: max(self._marks.get(name, 0), self._idle.get(name, 0)) for name in {**self._marks, **self._idle}}

    def _say_if_emptied(self) -> None:
        if self._ledger.has_lost_its_data():
            log.error(
                "the ledger at %s has lost its data: requests from before read as unknown, and what still runs for "
                "them is stopped; new ones work. Keep its append-only file on, and never evict its keys",
                self._ledger.where,
            )

    def _claim(self, shard: str, lost: dict[str, float] | None) -> Iterator[Order]:
        for _ in range(AT_ONCE):
            reply = self._ledger.claim(shard, sweeper=self._process.owner, lost=lost)
            for name, stamp in reply.marks.items():
                self._marks[name] = max(stamp, self._marks.get(name, 0))
            if reply.stored:
                self._to_sift.add(shard)
            yield from reply.orders
            if not reply.more:
                return


class Sender:
    """Publishes beside the sweeping, one batch at a time: a broker that does not answer must not hold that up.

    Args:
        process: Whose connections are used.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._free = threading.Semaphore()

    def send(self, orders: Sequence[Order]) -> None:
        """Publish, unless the batch before is still on its way: then these come again."""
        if orders and self._free.acquire(blocking=False):
            try:
                threading.Thread(target=self._send, args=(orders,), name="collectors-sender", daemon=True).start()
            except RuntimeError:  # out of memory or threads, for now
                self._free.release()
                raise

    def _send(self, orders: Sequence[Order]) -> None:
        try:
            self._process.publish(orders)
        except Exception:
            log.exception("%d messages could not be sent; they come again", len(orders))
        finally:
            self._free.release()


def idle_stamps(workers: list[WorkerBeat], now_ms: float, backlog_s: float) -> dict[str, float]:
    """Up to which publication stamp waiting runs are lost, because a worker of their queue sat idle.

    >>> idle_stamps([WorkerBeat(worker="w", queues=["q"], at_ms=0, idle_for_ms=31_000)], 100_000, 30)["q:high"]
    70000
    """
    idle_ms = backlog_s * 1000
    queues = {queue for w in workers if w.idle_for_ms is not None and w.idle_for_ms >= idle_ms for queue in w.queues}
    urgencies = (*PRIORITIES, *map(str, range(11)))  # a task of its own queue may have one of its own
    return {f"{queue}:{urgency}": now_ms - idle_ms for queue in queues for urgency in urgencies}
