"""Messages doubled, out of order, lost, damaged, or brought to a worker that has no code for them: it makes no odds."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from celery_collectors import Report, Request
from celery_collectors.dispatch import HEADER
from celery_collectors.model import RequestState
from tests.faults import limited_app, misbehaving_app
from tests.faults.matrix import Matrix, judge
from tests.faults.post import Letter, orders_of, post_of
from tests.integration.conftest import Engine, until

NEWER = misbehaving_app.__name__
PATIENCE_S = 100  # to find out that a message is lost, its queue has to stand still for half a minute


def is_steady(report: Report) -> bool:
    return report.state == RequestState.COMPLETE and report.result["items"] == 1


@pytest.mark.promise(2)
def test_every_message_comes_many_times_early_late_and_out_of_order(engine: Engine, pool: str, matrix: Matrix) -> None:
    """Runs and stages; from before they are due until after the request's end."""
    requests = [engine.collectors.request("python", deadline=40, messages="each") for _ in range(5)]
    orders = [order for request in requests for order in orders_of(engine, request, ["steady"])] * 3
    randomly = random.Random(4)
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(1):
            randomly.shuffle(orders)
            engine.collectors.client.publish(orders)

    randomly.shuffle(orders)
    engine.collectors.client.publish(orders)
    repeating = threading.Thread(target=repeat)
    repeating.start()
    try:
        engine.worker(pool, 3)
        reports = [request.wait() for request in requests]
    finally:
        over.set()
        repeating.join()
    engine.collectors.client.publish(orders)  # late
    until(lambda: engine.waiting() == 0, "all of it is taken")
    assert judge(engine.collectors.request("python", deadline=40), is_steady) == "once"
    assert all(is_steady(report) for report in reports)
    matrix.check(f"each message comes many times, early, late and out of order, on {pool}",
                 [judge(request, is_steady) for request in requests])  # fmt: skip
    assert [engine.noted(name) for name in ("steady", "gathering", "cleanup", "process")] == [6] * 4


@pytest.mark.promise(5)
@pytest.mark.heavy
@pytest.mark.setups("embedded", "rabbitmq")
def test_messages_that_are_lost_come_again(engine: Engine, matrix: Matrix) -> None:
    """Those of runs before any worker is there, and those of stages as they are sent."""
    requests = [engine.collectors.request("python", deadline=PATIENCE_S, messages="each") for _ in range(3)]
    with post_of(engine) as post:
        until(lambda: engine.waiting() == 3, "they are there")
        assert len(post.take()) == 3
        engine.worker("prefork", 2)
        verdicts = [judge(request, is_steady) for request in requests]
    took_s = max((r.report().finished_at - r.report().created_at).total_seconds() for r in requests)
    matrix.check("the queue is purged", verdicts, recovery_s=took_s)
    assert {outcome.attempts for r in requests for outcome in r.report().outcomes.values()} == {1}


def damaged(good: Letter) -> dict[str, Letter]:
    """This message in every state that a message should not be in."""

    def headers(**changes: Any) -> Letter:
        return good._replace(headers=good.headers | changes)

    def named(**changes: Any) -> Letter:
        return headers(**{HEADER: good.headers[HEADER] | changes})

    without = {name: value for name, value in good.headers.items() if name != HEADER}
    return {
        "garbage": good._replace(body=b"\xff\x00garbage", content_encoding="binary"),
        "half a body": good._replace(body=good.body[: len(good.body) // 2]),
        "an empty body": good._replace(body=b""),
        "another JSON": good._replace(body=b'{"a": 1}'),
        "said to be pickled": good._replace(content_type="application/x-python-serialize"),
        "of an unknown kind": good._replace(content_type="application/x-unheard-of"),
        "without headers": good._replace(headers={}),
        "without our header": good._replace(headers=without),
        "our header is text": headers(**{HEADER: "text"}),
        "our header is empty": headers(**{HEADER: {}}),
        "our header is a list": headers(**{HEADER: [1]}),
        "a number for an id": named(request_id=7),
        "a list for a ref": named(ref=["0"]),
        "text for a generation": named(generation="one"),
        "nothing for a delivery": named(delivery=None),
        "an unknown request": named(request_id="7a1c1e6e-51c5-4b53-8b5e-000000000000"),
        "an unknown run": named(ref="99"),
        "a stamp of text": named(stamp="x"),
        "no task": headers(task=None),
        "no id": headers(id=None),
    }


@pytest.mark.parametrize("pool", ["prefork", pytest.param("threads", marks=pytest.mark.heavy)])
def test_a_worker_survives_damaged_messages(engine: Engine, pool: str, matrix: Matrix) -> None:
    """What they were to call for is served by the intact copy; and the worker goes on, with every slot."""
    with post_of(engine) as post:
        requests = [engine.collectors.request("python", deadline=60) for _ in range(2)]
        until(lambda: engine.waiting() == 2, "the messages are there")
        good = post.take()
        for _ in range(3):
            post.put(*damaged(good[0]).values())
        post.put(*good)
        worker = engine.worker(pool, 2)
        verdicts = [judge(request, is_steady) for request in requests]
        until(lambda: engine.waiting() == 0, "all of it is taken")
        later = [engine.collectors.request("python", deadline=60) for _ in range(6)]
        verdicts += [judge(request, is_steady) for request in later]
    assert worker.poll() is None
    matrix.check(f"damaged messages of {len(damaged(good[0]))} kinds, on {pool}", verdicts)


@pytest.fixture
def limited_queue(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A quorum queue that drops what came back twice, as a site's policy may have it."""
    monkeypatch.setenv("COLLECTORS_QUEUE_TYPE", "quorum")
    engine.collectors.configure()
    name = engine.collectors.settings.queue
    yield engine
    with engine.connection() as connection:
        connection.default_channel.queue_delete(name)
        connection.default_channel.exchange_delete(name)
    monkeypatch.delenv("COLLECTORS_QUEUE_TYPE")
    engine.collectors.configure()


@pytest.mark.heavy
@pytest.mark.setups("rabbitmq")
def test_a_message_beyond_a_quorum_queues_delivery_limit_is_not_missed(
    limited_queue: Engine, matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = limited_queue
    monkeypatch.setattr("celery_collectors.dispatch.dispatcher.our_queue", limited_app.limited_queue)
    with engine.connection() as connection:
        queue = limited_app.limited_queue(engine.collectors.settings.queue)(connection.default_channel)
        queue.declare()
        request = engine.collectors.request("python", deadline=PATIENCE_S)
        for _ in range(limited_app.LIMIT + 1):
            until(lambda: queue.get(no_ack=False), "it is delivered").requeue()
        assert queue.get(no_ack=False) is None, "the queue has dropped it"
        engine.worker("prefork", 2, app=limited_app.__name__)
        matrix.check("a quorum queue's delivery limit is reached", [judge(request, is_steady)])


# A worker of an older version of the app ------------------------------------------------------------


def newer(engine: Engine, *names: str, deadline: float) -> Request:
    return engine.collectors.request("newer", deadline=deadline, only=list(names or ["known_to_newer_workers"]))


@pytest.mark.heavy
@pytest.mark.parametrize("pool", ["prefork", pytest.param("threads", marks=pytest.mark.matrix)])
@pytest.mark.setups("embedded", "rabbitmq")
def test_what_an_older_worker_does_not_know_goes_to_a_newer_one(engine: Engine, pool: str, matrix: Matrix) -> None:
    """Also if the older one is given it first, and again and again."""
    engine.worker(pool, 4)
    requests = [newer(engine, deadline=60) for _ in range(4)]
    until(lambda: engine.logs().count("Received unregistered task") >= 8, "the older worker is given them again")
    engine.worker(pool, 1, app=NEWER)
    requests += [newer(engine, deadline=60) for _ in range(4)]
    complete = [judge(request, lambda report: report.state == RequestState.COMPLETE) for request in requests]
    took_s = max((r.report().finished_at - r.report().created_at).total_seconds() for r in requests)
    matrix.check(f"an older worker is given messages of collectors that it does not know, on {pool}", complete,
                 recovery_s=took_s)  # fmt: skip
    assert {outcome.attempts for r in requests for outcome in r.report().outcomes.values()} == {1}


@pytest.mark.setups("embedded", "rabbitmq")
def test_what_no_worker_knows_is_timed_out_and_says_so(engine: Engine, matrix: Matrix) -> None:
    engine.worker()
    request = newer(engine, "known_to_newer_workers", "steady", deadline=4)

    def is_right(report: Report) -> bool:
        error = report.outcomes["known_to_newer_workers"].error
        assert (error.type, error.kind, error.retryable) == ("Timeout", "system", True)
        assert "no worker that was given it knows the task tests.faults.misbehaving_app.known" in error.message
        assert "start workers that have the newest version of the app" in error.message
        assert report.outcomes["known_to_newer_workers"].attempts == 0
        return str(report.outcomes["known_to_newer_workers"].state) == "timed_out"

    matrix.check("no worker knows the collector", [judge(request, is_right)])
    assert engine.logs().count("Received unregistered task") in range(2, 10)
