"""Messages in our queue that are no messages: dropped with a word, because some of them would end a Celery worker.

And the next one, too, since a worker's end puts them back. What they were to call for comes again from the ledger.
Messages of other queues are not looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery_collectors.worker.process import Runtime

log = logging.getLogger(__name__)

Handler = Callable[[Any], Any]


def guard(runtime: Runtime, consumer: Any) -> None:
    """Let a worker's consumer look at what comes out of our queue before it takes it."""
    if hasattr(consumer.create_task_handler, "looks_first"):
        return
    make = consumer.create_task_handler

    def create_task_handler(*args: Any, **kwargs: Any) -> Handler:
        return _looking_first(make(*args, **kwargs), runtime, consumer)

    create_task_handler.looks_first = True  # type: ignore[attr-defined]
    consumer.create_task_handler = create_task_handler


def _looking_first(handle: Handler, runtime: Runtime, consumer: Any) -> Handler:
    broken = (MemoryError, *consumer.connection_errors, *consumer.channel_errors)

    def on_message(message: Any) -> Any:
        if (message.delivery_info or {}).get("routing_key") != runtime.settings.queue:
            return handle(message)
        try:
            _check(message)
            return handle(message)
        except broken:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            log.error("a damaged message in the queue %s is dropped: %r", runtime.settings.queue, error)
            if not message.acknowledged:  # else Celery has done so, and failed at what follows
                message.reject_log_error(log, consumer.connection_errors)

    return on_message


def _check(message: Any) -> None:
    """Raise for a message of a task whose body is not what Celery unpacks in its pool, where nobody would see it."""
    if not isinstance(message.headers, dict) or "task" not in message.headers:
        return  # Celery's older protocol, or nothing that it takes for a task
    if not isinstance(message.headers["task"], str) or not isinstance(message.headers.get("id"), str):
        raise TypeError("its headers name no task, or have no id")
    args, kwargs, _ = message.payload
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        raise TypeError("its body has no arguments")
