"""Messages that are delivered twice, as a broker does that did not get an acknowledgement."""

from __future__ import annotations

from kombu import Connection, Queue


def doubled(connection: Connection, queue: str) -> int:
    """Put a copy of every message that waits in a queue behind it; how many there are then."""
    taken = []
    bound = Queue(queue)(connection.default_channel)
    while (message := bound.get()) is not None:
        taken.append(message)
    for message in [*taken, *taken]:
        properties = {name: message.properties.get(name) for name in ("correlation_id", "reply_to", "priority")}
        connection.Producer().publish(
            message.body, routing_key=queue, exchange="", content_type=message.content_type,
            content_encoding=message.content_encoding, headers=message.headers,
            **{name: value for name, value in properties.items() if value is not None},
        )  # fmt: skip
    for message in taken:
        message.ack()
    return 2 * len(taken)
