"""Promises that no other fault test proves: tokens, small messages, an end to what is cancelled, a guest's manners."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest
from celery.exceptions import WorkerLostError
from kombu import Queue

from tests.integration import chord_app
from tests.integration.chord_world import Chords, own
from tests.integration.conftest import Engine, until

__all__ = ["own"]

SMALL_BYTES = 4096
WATCHED_EVENTS = {"task-received", "task-started", "task-succeeded"}


class Watched:
    """What a worker tells Flower, and every message that lies in our queue, by size."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.events: list[dict[str, Any]] = []
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with contextlib.suppress(OSError), self._engine.connection() as connection:  # until the test's servers end
            app = self._engine.collectors.app
            app.events.Receiver(connection, handlers={"*": self.events.append}).capture(limit=None, timeout=None)

    def messages(self) -> list[int]:
        """The size of each message that waits; they go on waiting."""
        sizes = []
        with self._engine.connection() as connection:
            queue = Queue(self._engine.collectors.settings.queue)(connection.default_channel)
            while (message := queue.get()) is not None:
                sizes.append(len(message.body) + len(repr(message.headers)))
        return sizes  # with the connection go our claims on them


@pytest.mark.promise(2)
@pytest.mark.setups("embedded")
def test_generation_and_attempt_only_ever_rise(engine: Engine) -> None:
    """So a store that refuses a lower pair refuses an attempt that was taken for dead and goes on all the same."""
    engine.worker()
    request = engine.collectors.request("token", deadline=30, only=["tells_its_token"])
    assert request.wait().state == "failed"
    engine.write("gate")
    request.retry()
    assert request.wait().state == "complete"
    lines = (engine.notes / "tokens").read_text().splitlines()
    tokens = [tuple(map(int, line.split())) for line in lines]
    assert [generation for generation, _ in tokens] == [1, 1, 1, 2]
    assert tokens == sorted(set(tokens))


@pytest.mark.promise(6)
@pytest.mark.setups("rabbitmq")
@pytest.mark.heavy
def test_messages_stay_small_also_those_of_a_worker_that_was_killed(engine: Engine) -> None:
    """Two megabytes are on their way from the collector through every stage; no message and no event has an item."""
    watched = Watched(engine)
    first = engine.worker("prefork", 1, "-E")
    request = engine.collectors.request("big process-gated", deadline=60, only=["big"])
    until(lambda: engine.noted("gate-waits"), "the last stage runs")
    engine.kill(first)
    sizes = until(watched.messages, "the broker has the killed worker's message again")
    engine.write("gate")
    engine.worker("prefork", 1, "-E")
    report = request.wait()
    assert (report.state, report.result["items"], report.outcomes["big"].bytes > 2_000_000) == ("complete", 2000, True)
    assert max(sizes) < SMALL_BYTES
    until(lambda: {event["type"] for event in watched.events} >= WATCHED_EVENTS, "Flower would have heard of it")
    assert max(len(repr(event)) for event in watched.events) < SMALL_BYTES


@pytest.mark.promise(7)
@pytest.mark.setups("embedded", "rabbitmq")
def test_what_is_cancelled_while_every_worker_is_dead_never_starts(engine: Engine) -> None:
    first = engine.worker("prefork", 1, "--prefetch-multiplier", "2")
    blocking = engine.collectors.request("gated", deadline=60, only=["gated"])
    until(lambda: engine.noted("gate-waits"), "the only process is busy")
    waiting = [engine.collectors.request("python", deadline=60) for _ in range(5)]
    engine.kill(first)
    assert [request.cancel("not needed") for request in (blocking, *waiting)] == ["cancelled"] * 6
    engine.write("gate")
    engine.worker("prefork", 1)
    assert engine.collectors.request("python", deadline=30).wait().state == "complete"
    until(lambda: engine.waiting() == 0, "what was sent before has been taken")
    assert engine.collectors.request("python", deadline=30).wait().state == "complete"
    assert (engine.noted("steady"), engine.noted("gate-waits")) == (2, 1)
    assert {request.report().state for request in (blocking, *waiting)} == {"cancelled"}


@pytest.mark.promise(8)
@pytest.mark.setups("embedded")
def test_tasks_that_are_not_ours_die_as_celery_has_it(own: Chords) -> None:
    """Whoever acknowledges early is not run again, whoever acknowledges late is: by Celery, not by us."""
    own.worker("prefork", 2)
    early, late, beside = own.word(), own.word(), own.word()
    lost = chord_app.dies_early.delay(early)
    again = chord_app.dies_late.delay(late)
    with pytest.raises(WorkerLostError):
        lost.get(timeout=20)
    assert again.get(timeout=20) == 2
    assert chord_app.noted.delay(beside).get(timeout=20) == 1
    assert (len(own.noted(early)), len(own.noted(late))) == (1, 2)
    assert own.collectors.list().requests == []


@pytest.mark.promise(8)
@pytest.mark.setups("rabbitmq")
@pytest.mark.heavy
def test_a_queue_of_the_apps_own_is_never_redeclared(own: Chords) -> None:
    """It was made with other arguments than the app's settings have: RabbitMQ would refuse to hear of it again."""
    special = f"{own.app.conf.task_default_queue}.special"
    with own.app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_declare(special, durable=True, auto_delete=False, arguments={"x-max-length": 1000})
        first = own.worker("prefork", 1, "-Q", own.collectors.settings.queue)
        assert own.collectors.request("python", only=["async_list"], deadline=30).wait().state == "complete"
        first.kill()
        first.wait(10)
        waiting = own.collectors.request("python", only=["async_list"], deadline=60)
        own.worker("prefork", 1, "-Q", own.collectors.settings.queue)
        assert waiting.wait().state == "complete"
        assert channel.queue_declare(special, passive=True).message_count == 0
    assert "PRECONDITION_FAILED" not in own.logs()
