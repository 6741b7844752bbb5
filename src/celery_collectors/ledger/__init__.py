"""The one record of every request, in Redis or Valkey, changed only by atomic scripts.

One ``.lua`` file per verb, each with its promise on top; :class:`Ledger` is the only way to call them.
"""

from celery_collectors.ledger.ledger import Ledger
from celery_collectors.ledger.records import Grant, Held, Order, Reply, RunPlan, StagePlan, WorkerBeat

__all__ = ["Grant", "Held", "Ledger", "Order", "Reply", "RunPlan", "StagePlan", "WorkerBeat"]
