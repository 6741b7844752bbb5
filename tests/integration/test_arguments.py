"""Plain calls of our tasks: large arguments travel by reference, and arrive as they were."""

from __future__ import annotations

import contextlib
import datetime as datetime_module
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from celery import Celery, chain, chord, group
from kombu import pools

from celery_collectors import Collectors
from celery_collectors.errors import PayloadError
from celery_collectors.settings import redis_url
from tests.integration.conftest import until
from tests.integration.payload_world import Payloads, payloads_in

from tests.integration import payload_app  # isort: skip - after the session has its word

BIG = list(range(20_000))
SMALL_BYTES = 4096


@pytest.fixture(params=["redis", "file"])
def world(
    request: pytest.FixtureRequest, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Payloads]:
    url = f"file://{tmp_path}/payloads" if request.param == "file" else None
    with payloads_in(url, ledger_url, tmp_path, monkeypatch) as found:
        pools.reset()
        payload_app.app._pool = payload_app.app.amqp._producer_pool = None
        monkeypatch.setenv("CELERY_RESULT_BACKEND", found.ledger_url)
        monkeypatch.setitem(payload_app.app.conf, "result_backend", found.ledger_url)
        payload_app.app._backend_cache = None
        payload_app.app._local.__dict__.clear()
        yield found


def noted(world: Payloads, word: str) -> Any:
    """What the task was given."""
    path = world.notes / f"noted-{word}"
    until(path.exists, f"{word} is noted")
    names = {"Decimal": Decimal, "datetime": datetime_module, "UUID": UUID}
    return eval(path.read_text(), names)


def waiting(world: Payloads) -> list[Any]:
    """Every message that waits in the app's queue, as it lies there."""
    with redis.Redis.from_url(redis_url(world.broker_url)) as broker:
        return broker.lrange(payload_app.app.conf.task_default_queue, 0, -1)  # type: ignore[return-value]


def test_a_large_argument_rides_in_no_message_and_arrives_as_it_was(world: Payloads) -> None:
    rich = {
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "price": [Decimal("1.10")] * 500,
        "raw": b"raw" * 2000,
        "id": UUID(int=7),
    }
    payload_app.count.delay(BIG, "noted", "list")
    payload_app.count.apply_async((), {"items": [rich], "topic": "noted", "request_id": "rich"})
    payload_app.count.apply_async(args=("x" * 10_000, "noted", "text"))
    payload_app.count.delay([1, 2], "noted", "small")
    messages = waiting(world)
    assert (len(messages), max(map(len, messages)) < SMALL_BYTES) == (4, True)
    assert len(world.stored()) == 3
    world.worker("threads", 1)
    assert noted(world, "list") == BIG
    assert noted(world, "rich") == [rich]
    assert noted(world, "text") == list("x" * 10_000)
    assert noted(world, "small") == [1, 2]


def test_signatures_and_chains_and_celerys_own_chord_are_as_they_were(world: Payloads) -> None:
    """Their data is whatever the tasks before made; the worker is the caller then."""
    (payload_app.make.s(5000) | payload_app.count.s("noted", "chain")).delay()
    chain(payload_app.make.s(5000), payload_app.count.si([1], "noted", "immutable")).delay()
    chord(group(payload_app.make.s(3000), payload_app.make.s(3000)))(payload_app.count.s("noted", "chord"))
    payload_app.make.apply_async((5000,), link=payload_app.count.s("noted", "link"))
    world.worker("threads", 2)
    assert noted(world, "chain") == noted(world, "link") == list(range(5000))
    assert noted(world, "immutable") == [1]
    assert noted(world, "chord") == [list(range(3000))] * 2


def test_a_task_that_asks_to_be_tried_again_gets_what_it_was_given(world: Payloads) -> None:
    payload_app.tries_again.delay(BIG, "again")
    world.worker("threads", 1)
    assert noted(world, "again") == BIG
    assert len({name.rpartition("#")[0] or name for name in world.stored()}) <= 2


def test_what_is_gone_is_a_named_error(world: Payloads) -> None:
    payload_app.count.delay(BIG, "noted", "gone")
    client = payload_app.collectors.client
    entries = [entry for shard in client.ledger.shards for entry in world.client.zrange(f"{shard}:stored", 0, -1)]
    called, ref, number = entries[0].decode().split()
    client.store.blobs.delete([f"{client.ledger.key('payload', called)}:{ref}:{number}"])
    world.worker("threads", 1)
    until(lambda: PayloadError.__name__ in world.logs(), "it has failed")
    assert "an argument that tests.integration.payload_app.count was called with can't be had any more" in world.logs()


def test_it_goes_after_its_time(world: Payloads) -> None:
    payload_app.collectors.configure(ledger=world.ledger_url, result_ttl_s=1)
    try:
        payload_app.count.delay(BIG, "noted", "short-lived")
        assert world.stored()
        world.worker("threads", 1)
        until(lambda: not world.stored(), "it is gone")
    finally:
        payload_app.collectors.configure(result_ttl_s=None)


def test_flower_is_told_of_no_item(world: Payloads) -> None:
    events: list[dict[str, Any]] = []

    def watch() -> None:
        with contextlib.suppress(OSError, redis.ConnectionError), payload_app.app.connection_for_write() as connection:
            payload_app.app.events.Receiver(connection, handlers={"*": events.append}).capture(limit=None)

    threading.Thread(target=watch, daemon=True).start()
    world.worker("threads", 1)
    payload_app.count.delay(BIG, "noted", "seen")
    until(lambda: any(event["type"] == "task-succeeded" for event in events), "Flower has heard of it")
    assert max(len(repr(event)) for event in events) < SMALL_BYTES


def test_without_a_ledger_it_is_sent_as_it_is() -> None:
    app = Celery("plain", broker="memory://")
    collectors = Collectors(app)

    @collectors.cleanup
    def clean(items: list[int]) -> list[int]:
        return items

    clean.delay(BIG)
    with app.connection_for_write() as connection:
        message = connection.SimpleQueue(app.conf.task_default_queue).get(timeout=1)
        assert message.payload[0] == [BIG]


def test_small_arguments_ask_no_ledger() -> None:
    app = Celery("away", broker="memory://")
    collectors = Collectors(app, ledger="redis://127.0.0.1:1/0")

    @collectors.cleanup
    def clean(items: list[int]) -> list[int]:
        return items

    clean.delay([1, "x" * 1000, {"a": [Decimal(1)]}])
