"""A worker's start: what it can't work without is found out at once, and what may come is not waited for."""

from __future__ import annotations

import socket
from threading import Thread

from celery import Celery

from celery_collectors.registry import Registry
from celery_collectors.settings import Settings
from celery_collectors.worker.boot import refuse_what_can_not_work
from celery_collectors.worker.process import Runtime


def test_a_ledger_that_does_not_answer_holds_no_worker_up() -> None:
    """As one that is suspended: it takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        runtime = Runtime(Celery("starts"), Registry(), settings=Settings, ledger_url=lambda: url)
        starting = Thread(target=refuse_what_can_not_work, args=(runtime,), daemon=True)
        starting.start()
        starting.join(10)
        assert not starting.is_alive()
