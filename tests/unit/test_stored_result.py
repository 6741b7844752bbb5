"""A chord's result in Celery's backend, stored from what its last stage made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celery import Celery

from celery_collectors.dispatch.results import store_result


def test_an_answer_at_hand_is_stored_without_asking_the_ledger() -> None:
    app = Celery("stored", backend="cache+memory://", set_as_current=False)
    nobody: Any = None
    order: Any = SimpleNamespace(name="its-id", request_id="r")
    store_result(app, nobody, order, lambda: {"item_count": 3})
    result = app.AsyncResult("its-id")
    assert (result.state, result.result) == ("SUCCESS", {"item_count": 3})
