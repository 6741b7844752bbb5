"""Publishes what the ledger says is due; the only sender of messages.

A message is only the call to come and fetch a run or stage. Losing one, sending it twice or late is
harmless, so nothing here retries for long: what could not be published is handed out again.
"""

from celery_collectors.dispatch.brokers import broker_name, broker_unavailable
from celery_collectors.dispatch.dispatcher import Dispatcher
from celery_collectors.dispatch.messages import HEADER, PACK_TASK, PRIORITIES, each_of, order_of, our_queue, task_id
from celery_collectors.dispatch.teller import Teller

__all__ = [
    "HEADER",
    "PACK_TASK",
    "PRIORITIES",
    "Dispatcher",
    "Teller",
    "broker_name",
    "broker_unavailable",
    "each_of",
    "order_of",
    "our_queue",
    "task_id",
]
