"""The turn of what goes alone passes on in the process that had it, at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from celery import Celery

from celery_collectors.ledger import Order
from celery_collectors.registry import Registry
from celery_collectors.worker.attempt import Attempt
from celery_collectors.worker.fetch import fetch, settle, settle_together
from celery_collectors.worker.process import Process, Runtime
from tests.ledger.test_alone import last_chance
from tests.ledger.world import World


class Here(Process):
    """A process that keeps what it would send."""

    def __init__(self, world: World, ledger_url: str) -> None:
        app = Celery("turns", broker="memory://")
        super().__init__(Runtime(app, Registry(), settings=lambda: world.settings, ledger_url=lambda: ledger_url))
        self.__dict__["ledger"] = world.ledger
        self.sent: list[Order] = []

    def publish(self, orders: Sequence[Order], answer: Any = None) -> None:
        """Keep them."""
        del answer
        self.sent += orders


@pytest.fixture
def here(world: World, ledger_url: str) -> Here:
    return Here(world, ledger_url)


@pytest.mark.parametrize("together", [False, True])
def test_what_was_put_off_is_called_for_when_the_one_before_it_ends(world: World, here: Here, together: bool) -> None:
    request_id = last_chance(world)
    first = fetch(here, world.order(request_id, "0"))
    assert first is not None
    assert fetch(here, world.order(request_id, "1")) is None
    assert here.sent == []
    if together:
        settle_together(here, [(first, Attempt(state="empty"))])
    else:
        settle(here, first, Attempt(state="empty"))
    assert [order.ref for order in here.sent] == ["1"]
    assert fetch(here, world.order(request_id, "1")) is not None


def test_what_has_gone_on_elsewhere_meanwhile_keeps_nobody_waiting(world: World, here: Here) -> None:
    one, other = last_chance(world), last_chance(world)
    first = fetch(here, world.order(one, "0"))
    assert first is not None
    assert fetch(here, world.order(one, "1")) is None
    assert fetch(here, world.order(other, "1")) is None
    assert world.start(one, "1", process="p2").go
    settle(here, first, Attempt(state="empty"))
    assert [(order.request_id, order.ref) for order in here.sent] == [(other, "1")]


def test_what_goes_in_company_calls_for_nobody(world: World, here: Here) -> None:
    request_id = last_chance(world)
    assert fetch(here, world.order(request_id, "0")) is not None
    assert fetch(here, world.order(request_id, "1")) is None
    fresh = fetch(here, world.order(world.open("c"), "0"))
    assert fresh is not None
    settle(here, fresh, Attempt(state="empty"))
    assert here.sent == []
