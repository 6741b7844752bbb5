"""A message in our queue that Celery has refused already, and then failed over: it is not refused twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kombu import Connection

from celery_collectors.worker.damaged import guard


def test_what_fails_after_a_message_was_refused_does_not_end_the_worker() -> None:
    """As for an unknown task, whose failure Celery stores after that: the backend may be away."""

    def refuse_and_fail(message: Any) -> None:
        message.reject()
        raise ConnectionError("the result backend is away")

    with Connection("memory://") as connection:
        queue = connection.SimpleQueue("ours")
        queue.put({"no": "task"})
        message = queue.get(timeout=5)
        consumer = SimpleNamespace(create_task_handler=lambda: refuse_and_fail, connection_errors=(), channel_errors=())
        guard(SimpleNamespace(settings=SimpleNamespace(queue="ours")), consumer)  # type: ignore[arg-type]
        consumer.create_task_handler()(message)
        queue.close()
    assert message.acknowledged
