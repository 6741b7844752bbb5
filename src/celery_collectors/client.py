"""The connections of a process that asks: its ledger, its reader, its sender of messages."""

from __future__ import annotations

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from celery import Celery

from celery_collectors.calls import accepted
from celery_collectors.dispatch import Dispatcher, Teller
from celery_collectors.errors import IdempotencyError, UnavailableError
from celery_collectors.ledger import Ledger, Order
from celery_collectors.ledger.reading import Reader
from celery_collectors.ledger.stores import payload_store
from celery_collectors.plan import Pack, Plan, first_orders, messages_of
from celery_collectors.settings import Settings

log = logging.getLogger(__name__)

PATIENCE_S = 2.0  # somebody waits for the answer, if only to hear that there is none
KNOWN_FOR_S = 2.0  # run times change slowly, and a client may ask a thousand times a second


class Client:
    """One client process's connections, opened when first needed.

    Args:
        app: The Celery app whose broker is used.
        ledger_url: Where the ledger is.
        settings: The settings.
    """

    def __init__(self, app: Celery, ledger_url: str, settings: Settings) -> None:
        self.ledger = Ledger.from_url(ledger_url, settings, patience_s=PATIENCE_S)
        self.store = payload_store(self.ledger, settings, patience_s=PATIENCE_S)
        self.reader = Reader(self.ledger, self.store, accepted(app))
        self._dispatcher = Dispatcher(app, self.reader, settings)
        self._teller = Teller(self._dispatcher, self.ledger)
        self._settings = settings
        self._known: Mapping[str, float] = {}
        self._read_at = -KNOWN_FOR_S

    def ask(
        self,
        plan: Plan,
        *,
        deadline_s: float,
        finish_s: float,
        messages: str,
        priority: str = "normal",
        request_id: str | None = None,
        key: str | None = None,
    ) -> str:
        """Open a planned request, once, and call the workers.

        Args:
            plan: What it consists of.
            deadline_s, finish_s, messages, priority: As :meth:`Collectors.request` has them.
            request_id: Its id, if not one of our choice.
            key: Idempotency key, under which the first one's id counts.

        Returns:
            The id that it has.

        Raises:
            IdempotencyError: when the id or key belongs to another question.
        """
        made_up = request_id or str(uuid.uuid4())
        asked_id = request_id if key is None else self.ledger.reserve(key, made_up)
        request_id = asked_id or made_up
        plan = plan.named(made_up, request_id)
        first = self._first(plan, request_id, messages, priority)
        opened = self.ledger.open(
            request_id,
            topic=plan.topic,
            runs=plan.runs,
            stages=plan.stages,
            policy=plan.policy,
            deadline_s=deadline_s,
            finish_s=finish_s,
            messages=messages,
            priority=priority,
            calls=plan.calls,
            links=plan.links,
            result_id=plan.result_id,
        )
        if opened or asked_id is None:  # an id that is only ours was opened by us, whatever became of the reply
            self.publish([*first, *opened.orders])
        elif (found := self.reader.report(request_id)).topic != plan.topic:
            raise IdempotencyError(f"that key or id belongs to a request for {found.topic!r}, not {plan.topic!r}")
        return request_id

    def _first(self, plan: Plan, request_id: str, messages: str, priority: str) -> list[Order | Pack]:
        if messages != "auto":
            return list(first_orders(plan, request_id, priority))
        groups = messages_of(plan, self.run_times(), self._settings)
        return list(first_orders(plan, request_id, priority, groups))

    def run_times(self) -> Mapping[str, float]:
        """How long runs and stages are known to take: milliseconds by task, as of a moment ago.

        Each shard learns for itself; of those that know a task it is the median, so that one that has seen a bad moment
        decides nothing, and one that has not seen it yet decides as the others.
        """
        if time.monotonic() - self._read_at >= KNOWN_FOR_S:
            by_task: dict[str, list[float]] = defaultdict(list)
            for known in self.ledger.run_times():
                for task, run_ms in known.items():
                    by_task[task].append(run_ms)
            self._known = {task: median(times) for task, times in by_task.items()}
            self._read_at = time.monotonic()
        return self._known

    def publish(self, orders: Sequence[Order | Pack]) -> None:
        """Publish; while that can't be done, the request waits in the ledger."""
        try:
            self._dispatcher.send(orders)
            self._teller.soon()
        except UnavailableError as error:
            log.warning("accepted, and waiting in the ledger: %s", error)

    def close(self) -> None:
        """Close the connections; they open again when needed."""
        self._teller.close()
        self._dispatcher.close()
        self.ledger.client.close()
