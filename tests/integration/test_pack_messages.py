"""The message that several runs share: who is never in one, how small it is, and how many workers it keeps busy."""

from __future__ import annotations

import json
import uuid
from collections import Counter

import pytest

from celery_collectors import Request, chord
from celery_collectors.dispatch import HEADER
from celery_collectors.ledger import RunPlan
from celery_collectors.model import Policy
from celery_collectors.plan import SHORT_AT_ONCE, Plan, first_orders, messages_of
from tests.faults.post import post_of
from tests.integration import engine_app
from tests.integration.conftest import Engine, until

SHORT_MS = 0.1


def know(engine: Engine, *names: str) -> None:
    """Let the ledger know that these are short, as if they had run before."""
    declared = engine.collectors.registry.collectors
    engine.know(SHORT_MS, *(declared[name].task.name for name in names))


def many(engine: Engine, name: str, runs: int) -> Request:
    """One request with many runs of one collector, packed as if as many had been declared."""
    settings, client = engine.collectors.settings, engine.collectors.client
    collector = engine.collectors.registry.collectors[name]
    plans = tuple(
        RunPlan(
            name=f"{name}[{number}]", task=collector.task.name, queue=settings.queue, retries=0,
            timeout_ms=30_000, backoff_ms=100, backoff_cap_ms=1000,
        )
        for number in range(runs)
    )  # fmt: skip
    on_loop = frozenset({collector.task.name} if collector.is_async else ())
    plan = Plan(topic="many", runs=plans, stages=(), policy=Policy(), on_loop=on_loop)
    request_id = str(uuid.uuid4())
    client.ledger.open(request_id, topic="many", runs=plans, deadline_s=60, finish_s=30)
    groups = messages_of(plan, client.run_times(), settings)
    client.publish(list(first_orders(plan, request_id, "normal", groups)))
    return engine.collectors.get(request_id)


@pytest.mark.setups("embedded")
def test_a_chord_s_members_have_messages_of_their_own(engine: Engine) -> None:
    """Also where they are collectors known to be short: a member is a task's call."""
    know(engine, "steady")
    steady = engine.collectors.registry.collectors["steady"].task
    with post_of(engine) as post:
        chord([steady.s("python"), steady.s("rust")], deadline=60)(engine_app.add.s(1))
        until(lambda: engine.waiting() == 2, "they lie in the broker")
        assert ["refs" in letter.headers[HEADER] for letter in post.take()] == [False, False]


@pytest.mark.promise(6)
def test_a_message_for_a_hundred_is_small_and_so_is_what_flower_shows_of_it(engine: Engine) -> None:
    know(engine, "steady")
    with post_of(engine) as post:
        many(engine, "steady", SHORT_AT_ONCE)
        until(lambda: engine.waiting() == 1, "it lies in the broker")
        (letter,) = post.take()
    assert len(letter.headers[HEADER]["refs"]) == SHORT_AT_ONCE
    assert len(letter.body) + len(json.dumps(letter.headers)) < 16_384
    assert "steady[0], steady[1]" in letter.headers["kwargsrepr"]
    assert len(letter.headers["kwargsrepr"]) < 400


def test_processes_share_coroutines_that_are_more_than_one_may_run(engine: Engine) -> None:
    """Who has no room for the rest of its pack leaves the other packs to others."""
    cap, runs = 25, 200
    engine.worker("prefork", 2, "--prefetch-multiplier", "1", COLLECTORS_ASYNC_CAP=str(cap))
    report = many(engine, "one_second", runs).wait()
    outcomes = report.outcomes.values()
    assert {(str(outcome.state), outcome.attempts) for outcome in outcomes} == {("ok", 1)}
    by_process = Counter(outcome.worker for outcome in outcomes)
    assert len(by_process) == 2
    assert min(by_process.values()) >= runs // 4, by_process
