"""What is particular to RabbitMQ: how our queue is made, and the quorum queue that one setting makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Connection

from celery_collectors.dispatch import broker_unavailable, our_queue
from tests.integration.conftest import Engine
from tests.servers.server import Server

pytestmark = [pytest.mark.setups("rabbitmq"), pytest.mark.heavy]


@pytest.fixture
def quorum_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The same with quorum queues, by the one setting."""
    monkeypatch.setenv("COLLECTORS_QUEUE_TYPE", "quorum")
    engine.collectors.configure()
    yield engine
    with engine.connection() as connection:
        connection.default_channel.queue_delete(engine.collectors.settings.queue)
        connection.default_channel.exchange_delete(engine.collectors.settings.queue)
    monkeypatch.delenv("COLLECTORS_QUEUE_TYPE")
    engine.collectors.configure()


@pytest.mark.parametrize(
    ("url", "said"),
    [("amqp://nobody:wrong@{host}//", "ACCESS_REFUSED"), ("amqp://{login}@{host}/nowhere", "NOT_ALLOWED")],
    ids=["password", "vhost"],
)
def test_who_may_not_log_in_is_told_what_to_look_at(rabbitmq_server: Server, url: str, said: str) -> None:
    """And not asked whether it runs."""
    login, _, host = rabbitmq_server.url.removeprefix("amqp://").rstrip("/").rpartition("@")
    with Connection(url.format(login=login or "guest:guest", host=host)) as connection:
        with pytest.raises(connection.connection_errors + connection.channel_errors) as refused:
            connection.ensure_connection(max_retries=1, interval_start=0.1, interval_max=0.1)
        told = str(broker_unavailable(connection, refused.value))
    assert said in told
    assert told.endswith("Are user, password and vhost right?")


@pytest.mark.parametrize("arguments", [{"durable": False}, {"x-max-priority": None}, {"x-queue-type": "quorum"}])
def test_our_queue_is_classic_durable_and_made_for_priorities(engine: Engine, arguments: dict[str, object]) -> None:
    """RabbitMQ refuses to declare it again with anything else."""
    engine.collectors.request("python", deadline=5)
    queue = our_queue(engine.collectors.settings.queue, "classic")
    with engine.connection() as connection:
        queue(connection.default_channel).declare()
    durable = bool(arguments.pop("durable", True))
    other = {**queue.queue_arguments, **arguments}
    with engine.connection() as connection, pytest.raises(PreconditionFailed):
        connection.default_channel.queue_declare(
            queue.name, durable=durable, auto_delete=False, arguments={k: v for k, v in other.items() if v is not None}
        )


def test_a_quorum_queue_by_one_setting(quorum_engine: Engine) -> None:
    quorum_engine.worker("prefork", 2)
    requests = [quorum_engine.collectors.request("die", deadline=40) for _ in range(3)]
    assert [request.wait().state for request in requests] == ["complete"] * 3
    queue = our_queue(quorum_engine.collectors.settings.queue, "quorum")
    assert queue.queue_arguments == {"x-queue-type": "quorum"}
    with quorum_engine.connection() as connection:
        queue(connection.default_channel).declare()  # or it would have been made otherwise
