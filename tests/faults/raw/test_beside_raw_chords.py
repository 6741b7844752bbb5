"""The same faults on Celery's own chord and on ours, for the matrix: rows of what came of it, and that they struck.

Nothing is expected of Celery's chord; ours has to answer once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.faults.matrix import Verdict
from tests.faults.raw.conftest import Breakable
from tests.faults.raw.contender import BOUND_S, SERVER_BOUND_S, Contender, record
from tests.faults.raw.sources import NAMES
from tests.integration.conftest import until

pytestmark = [pytest.mark.matrix, pytest.mark.setups("redis", "rabbitmq"), pytest.mark.timeout(300)]


def finish(
    fault: str, contenders: Sequence[Contender], *, struck: str | float | None, bound_s: float = BOUND_S
) -> None:
    """Write the rows; all of ours must have been answered once."""
    found: dict[str, Counter[Verdict]] = record(fault, contenders, struck=struck, bound_s=bound_s)
    assert found["ours"] == {"once": len(contenders[-1].asked)}


def start_all(contenders: Sequence[Contender], how: str, count: int, *, names: Sequence[str] = NAMES) -> None:
    """A worker for each, and so many requests of which the third source misbehaves, until all do."""
    for one in contenders:
        one.worker()
    for one in contenders:
        one.ask(how, count, names=names)
    until_all(contenders, how, count)


def until_all(contenders: Sequence[Contender], word: str, count: int) -> None:
    """Wait until all have noted a word so often."""
    for one in contenders:
        until(lambda one=one: len(one.noted(word)) >= count, f"{one.kind.who} notes {word!r}", 60)


@pytest.mark.promise(4)
def test_one_collector_raises(contenders: list[Contender]) -> None:
    start_all(contenders, "raises", 10, names=NAMES[:2])
    finish("a collector raises", contenders, struck="raises")


@pytest.mark.promise(1)
def test_one_collector_hangs(contenders: list[Contender]) -> None:
    """Of ours it is ended at the deadline."""
    contenders[-1].deadline_s = 15
    start_all(contenders, "hangs", 3, names=NAMES[:2])
    finish("a collector hangs", contenders, struck="hangs")


@pytest.mark.promise(2)
def test_a_child_is_killed_in_a_collector(contenders: list[Contender]) -> None:
    start_all(contenders, "dies", 5)
    for one in contenders:
        until(lambda one=one: "signal 9" in one.logs(), f"{one.kind.who} says that a child was killed")
    finish("a pool child is killed in a collector", contenders, struck="dies")


@pytest.mark.promise(1)
def test_the_whole_worker_is_killed_in_a_collector(contenders: list[Contender]) -> None:
    """Another one is started at once."""
    start_all(contenders, "gated", 4)
    until_all(contenders, "collected", 8)
    struck_at = time.time()
    for one in contenders:
        one.kill()
    for one in contenders:
        one.worker()
    finish("the whole worker is killed in a collector", contenders, struck=struck_at)


@pytest.mark.promise(2)
@pytest.mark.parametrize("message", ["ask", "gathering"])
def test_a_message_is_delivered_twice(contenders: list[Contender], message: str) -> None:
    """What a broker does with one whose acknowledgement it did not get."""
    for one in contenders:
        if message == "gathering":
            one.worker(2, "-Q", one.queue)
        one.ask("steady", 5)
        queue = one.queue if message == "ask" else one.then
        until(lambda one=one, queue=queue: one.waiting(queue) == 5, f"{one.kind.who} has its messages there")
        assert one.double(queue) == 10
    for one in contenders:
        one.worker()
    word = {"ask": "request", "gathering": "callback"}[message]
    finish(f"the {word}'s message is delivered twice", contenders, struck=None)


IN_FLIGHT = 20


def start_in_flight(contenders: Sequence[Contender]) -> None:
    """So many requests for each, of which some sources have been read and most have not."""
    for one in contenders:
        one.worker(3)
    for one in contenders:
        one.ask("slow", IN_FLIGHT)
    until_all(contenders, "collected", 6)
    assert all(len(one.noted("answers")) < IN_FLIGHT for one in contenders)


@pytest.mark.promise(5)
@pytest.mark.setups("rabbitmq")
def test_rabbitmq_is_killed_for_ten_seconds(breakable: Breakable) -> None:
    start_in_flight(breakable.contenders)
    struck_at = breakable.strike(breakable.rabbitmq, 10)
    finish(
        f"RabbitMQ is killed for 10 s, {IN_FLIGHT} in flight",
        breakable.contenders,
        struck=struck_at,
        bound_s=SERVER_BOUND_S,
    )


@pytest.mark.promise(5)
def test_redis_is_killed_for_two_seconds(breakable: Breakable) -> None:
    """With its append-only file on: it comes back with its data."""
    start_in_flight(breakable.contenders)
    struck_at = breakable.strike(breakable.redis, 2)
    finish(
        f"Redis is killed for 2 s, {IN_FLIGHT} in flight",
        breakable.contenders,
        struck=struck_at,
        bound_s=SERVER_BOUND_S,
    )
