"""A broker for messages to people: its name, and what is wrong with it."""

from __future__ import annotations

from amqp.exceptions import AccessRefused, NotAllowed
from kombu import Connection
from redis.exceptions import AuthenticationError

from celery_collectors.errors import BrokerUnavailable


def broker_name(connection: Connection) -> str:
    """A broker's URL for messages to people: without its password, and without the sign for one where there is none.

    >>> broker_name(Connection("redis://db.example:6380/1")), broker_name(Connection("amqp://me:secret@mq.example//"))
    ('redis://db.example:6380/1', 'amqp://me:**@mq.example:5672//')
    """
    uri = str(connection.as_uri())
    return uri if connection.password else uri.replace(":**@", "@", 1).replace("://@", "://", 1)


def broker_unavailable(connection: Connection, error: Exception) -> BrokerUnavailable:
    """The error to raise where a broker can't be used, which says what to look at.

    >>> print(broker_unavailable(Connection("amqp://mq.example//"), ConnectionRefusedError("Connection refused")))
    the broker at amqp://guest@mq.example:5672// can't be reached: Connection refused. Is it running?

    Args:
        connection: Says where it is.
        error: What kombu raised.
    """
    cause = error.__cause__ or error
    where, said = broker_name(connection), str(getattr(cause, "reply_text", "") or error).rstrip(".")
    if _is_of_the_login(cause):
        return BrokerUnavailable(f"the broker at {where} refuses us: {said}. Are user, password and vhost right?")
    if isinstance(error, connection.channel_errors):
        return BrokerUnavailable(f"the broker at {where} refuses us: {said}. 'collectors doctor' looks at its queues")
    return BrokerUnavailable(f"the broker at {where} can't be reached: {said}. Is it running?")


def _is_of_the_login(error: BaseException) -> bool:
    """A password, a vhost; RabbitMQ also says of a queue that access is refused, and which method that was."""
    is_password = isinstance(error, AccessRefused) and not error.method_name
    return is_password or isinstance(error, (NotAllowed, AuthenticationError))
