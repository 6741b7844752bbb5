"""What the doctor looks at in the broker and in the ledger's server."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError, ResponseError

from celery_collectors.cli.check import Check
from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.place import Place, broker_connection, refuse_unreachable_broker
from celery_collectors.dispatch import broker_name, our_queue
from celery_collectors.errors import UnavailableError
from celery_collectors.ledger.shards import connect
from celery_collectors.settings import public_url

if TYPE_CHECKING:
    from kombu import Connection
    from redis import Redis

LEDGER_MIN_VERSION = 7
RABBITMQ_MIN_VERSION = (3, 10)
CLOCK_TOLERANCE_S = 1.0
ACCESS_REFUSED, NOT_FOUND = 403, 404  # AMQP's
ROUND_TRIPS = 3
FROM_CONFIG = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")


def broker(place: Place) -> Check:
    """Whether it answers, and is new enough."""
    try:
        where = broker_name(broker_connection(place))
        refuse_unreachable_broker(place)
        product = "" if place.home else _product(broker_connection(place))
    except Complaint as complaint:
        return Check(name="broker", state="fail", message=complaint.message, remedy=complaint.hint)
    except UnavailableError as error:
        remedy = "start it, or mend CELERY_BROKER_URL or --broker"
        return Check(name="broker", state="fail", message=str(error), remedy=remedy, unreachable=True)
    return broker_product(product, where)


def _product(connection: Connection) -> str:
    """What an AMQP broker says it is; empty for others."""
    with connection:
        said = getattr(connection.connection, "server_properties", None) or {}
        return f"{said.get('product', '')} {said.get('version', '')}".strip()


def broker_product(product: str, where: str) -> Check:
    """Whether what answers is new enough; ``product`` is empty when it doesn't say."""
    name, _, number = product.partition(" ")
    if name == "RabbitMQ" and _version(number) < RABBITMQ_MIN_VERSION:
        return Check(
            name="broker",
            state="fail",
            message=f"{product} at {where} is too old",
            remedy=f"use RabbitMQ {'.'.join(map(str, RABBITMQ_MIN_VERSION))} or newer",
        )
    return Check(name="broker", state="ok", message=f"{product} at {where} answers" if product else f"{where} answers")


def _version(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", number)[:2])


def queue(place: Place) -> Iterator[Check]:
    """Whether RabbitMQ lets us use our queue: whoever declares one otherwise than it was made is refused."""
    with broker_connection(place) as connection:
        if place.home or connection.transport.driver_type != "amqp":
            return
        settings = place.collectors.settings
        wanted = our_queue(settings.queue, settings.queue_type)(connection.default_channel)
        try:
            wanted.queue_declare(passive=True)
            wanted.queue_declare()
        except connection.channel_errors as error:
            yield queue_refused(wanted.name, error)
        else:
            yield Check(name="queue", state="ok", message=f"{wanted.name!r} is there, and as we would make it")
        yield from _queues_of_the_app(place, connection)


def _queues_of_the_app(place: Place, connection: Connection) -> Iterator[Check]:
    """Those that are not ours, if a worker that consumes them could not start."""
    for name, queue in place.collectors.app.amqp.queues.items():
        if name == place.collectors.settings.queue:
            continue
        try:
            with connection.channel() as channel:
                queue(channel).queue_declare(passive=True)
                queue(channel).queue_declare()
        except connection.channel_errors as error:
            if error.reply_code == ACCESS_REFUSED:
                yield _forbidden("app's queues", f"the app's queue {name!r}", error)
            elif error.reply_code != NOT_FOUND:
                yield Check(
                    name="app's queues",
                    state="fail",
                    message=f"the app's queue {name!r} is there with other arguments: {error.reply_text}",
                    remedy="no worker can consume it: name it in task_queues as it is, or delete it once it is empty",
                )


def queue_refused(name: str, error: Any) -> Check:
    """What it comes to that RabbitMQ does not let us declare our queue."""
    if error.reply_code == NOT_FOUND:
        return Check(name="queue", state="ok", message=f"{name!r} will be made when it is first used")
    if error.reply_code == ACCESS_REFUSED:
        return _forbidden("queue", repr(name), error)
    return Check(
        name="queue",
        state="fail",
        message=f"{name!r} can't be used: {error.reply_text}",
        remedy="name another with COLLECTORS_QUEUE, or delete this one once it is empty",
    )


def _forbidden(check: str, what: str, error: Any) -> Check:
    return Check(
        name=check,
        state="fail",
        message=f"{what} can't be used: {error.reply_text}",
        remedy="let its user use what is in the vhost: rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'",
    )


def ledger_facts(place: Place) -> dict[str, Any]:
    """What the ledger's server says about itself, and by how much its clock differs.

    Raises:
        CollectorsError: when it does not answer, or is not ours to use.
    """
    place.collectors.list(1)  # as a client would use it: also finds a ledger made with other settings
    client = connect(place.collectors.ledger_url, patience_s=1.0)
    try:
        client.publish(place.collectors.client.ledger.key("ended", "doctor"), "")  # ACLs let nobody, unless told to
        return {**_said(client), "clock_s": _clock_s(client)}
    finally:
        client.close()


def refused(place: Place, error: RedisError) -> Check:
    """It answers, and does not let us do what we need; a restricted user's, or no Redis at all."""
    prefix = place.collectors.settings.prefix
    return Check(
        name="ledger",
        state="fail",
        message=f"the ledger at {public_url(place.collectors.ledger_url)} refuses us: {error}",
        remedy=f"mend its URL, or let its user run scripts, use channels, and have all keys that begin with {prefix}",
    )


def _said(client: Redis) -> dict[str, Any]:
    """What INFO and CONFIG tell; a server that somebody else runs may forbid either."""
    facts: dict[str, Any] = {}
    with suppress(ResponseError):
        facts |= {str(name).replace("-", "_"): value for name, value in client.config_get(*FROM_CONFIG).items()}
    with suppress(ResponseError):
        facts |= client.info()
    return facts


def _clock_s(client: Redis) -> float:
    """How far the server's clock is before ours; of the quickest answer, whose way there and back hides least."""
    return min(_compared(client) for _ in range(ROUND_TRIPS))[1]


def _compared(client: Redis) -> tuple[float, float]:
    before_s = time.time()
    now: Any = client.time()
    after_s = time.time()
    return after_s - before_s, now[0] + now[1] / 1e6 - (before_s + after_s) / 2


def ledger(place: Place, facts: dict[str, Any]) -> Check:
    """Which server it is."""
    kind = "Valkey" if "valkey_version" in facts else "Redis"
    number = str(facts.get("valkey_version") or facts.get("redis_version") or "")
    if number and int(number.partition(".")[0]) < LEDGER_MIN_VERSION:
        remedy = "use Redis 7 or Valkey 8, or newer"
        return Check(name="ledger", state="fail", message=f"{kind} {number} is too old", remedy=remedy)
    where = f"embedded in {place.home}" if place.home else f"at {public_url(place.collectors.ledger_url)}"
    version = number or "(it keeps its version to itself)"
    return Check(name="ledger", state="ok", message=f"{kind} {version} {where} answers")


def persistence(facts: dict[str, Any]) -> Check:
    """Without its append-only file a restart forgets accepted requests."""
    on = facts.get("aof_enabled", facts.get("appendonly"))
    if on is None:
        return _unseen("persistence", "appendonly yes")
    if on not in (1, "yes"):
        return Check(
            name="persistence",
            state="warn",
            message="the append-only file is off: when this server restarts, accepted requests are lost",
            remedy="while it runs CONFIG SET appendonly yes, then in its configuration, which alone would begin empty",
        )
    if facts.get("appendfsync") == "no":
        return Check(
            name="persistence",
            state="warn",
            message="the append-only file is on, but written to disk only when the system likes (appendfsync no)",
            remedy="set appendfsync everysec in its configuration",
        )
    return Check(name="persistence", state="ok", message="the append-only file is on")


def eviction(facts: dict[str, Any]) -> Check:
    """A server that evicts keys would forget runs."""
    policy = facts.get("maxmemory_policy")
    if policy is None:
        return _unseen("eviction", "maxmemory-policy noeviction")
    if policy == "noeviction":
        return Check(name="eviction", state="ok", message="maxmemory-policy is noeviction")
    size = int(facts.get("maxmemory", 0))
    what = f"maxmemory-policy is {policy}"
    return Check(
        name="eviction",
        state="fail" if size else "warn",
        message=f"{what}, with maxmemory {size / 2**20:.0f} MiB: when that is full, requests in flight are thrown away"
        if size
        else f"{what}; nothing is thrown away only because maxmemory is not set",
        remedy="set maxmemory-policy noeviction, or give the ledger a server of its own",
    )


def _unseen(name: str, wanted: str) -> Check:
    return Check(
        name=name,
        state="warn",
        message="can't be seen: this server allows us neither INFO nor CONFIG GET",
        remedy=f"let whoever runs it say that it has {wanted}, or allow its user +info",
    )


def clock(facts: dict[str, Any]) -> Check:
    """Deadlines are kept by the ledger's clock; here they are only shown."""
    off_s = float(facts["clock_s"])
    if abs(off_s) <= CLOCK_TOLERANCE_S:
        return Check(name="clock", state="ok", message=f"differs from the ledger's by {abs(off_s) * 1000:.0f} ms")
    return Check(
        name="clock",
        state="warn",
        message=f"differs from the ledger's by {abs(off_s):.1f} s: times that are shown here are off by that",
        remedy="let both machines take their time from NTP",
    )
