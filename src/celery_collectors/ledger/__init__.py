"""The one record of every request, in Redis or Valkey, changed only by atomic scripts.

One ``.lua`` file per verb, each with its promise on top; :class:`Ledger` is the only way to call them.
"""

from celery_collectors.ledger.ledger import Ledger
from celery_collectors.ledger.records import (
    RESULT,
    Grant,
    Held,
    LinkPlan,
    Order,
    Reply,
    RunPlan,
    Settled,
    Sifted,
    StagePlan,
    StepPlan,
    Then,
    Verdict,
    WorkerBeat,
)

__all__ = [
    "RESULT",
    "Grant",
    "Held",
    "Ledger",
    "LinkPlan",
    "Order",
    "Reply",
    "RunPlan",
    "Settled",
    "Sifted",
    "StagePlan",
    "StepPlan",
    "Then",
    "Verdict",
    "WorkerBeat",
]
