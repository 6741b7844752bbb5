"""What an order becomes: a Celery message that names a run or stage, and nothing of its data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from celery import Celery
from celery.canvas import Signature
from celery.utils.saferepr import saferepr
from kombu import Exchange, Queue

from celery_collectors.calls import sent_options
from celery_collectors.ledger import Order
from celery_collectors.ledger.asked import Message
from celery_collectors.plan import Pack

HEADER = "collectors"
PACK_TASK = "collectors.pack"
PRIORITIES = ("low", "normal", "high")
SHOWN_CHARS = 1024
SHOWN_NAMES = 10
LIMIT_GRACE_S = 5.0  # a worker's own time limits act first

# RabbitMQ serves the highest number first and none last; Redis serves 0 first, and knows only the
# steps 0, 3, 6 and 9 unless told otherwise. So a priority is always set, by one table.
_REDIS_PRIORITY = {"high": 0, "normal": 3, "low": 6}
_AMQP_PRIORITY = {"high": 9, "normal": 5, "low": 1}


def order_of(header: Any, message_id: str | None) -> Mapping[str, Any] | None:
    """What a message of ours names; ``None`` for any other, also one that was only given our header on.

    Args:
        header: What a message has as our header.
        message_id: Its task id.
    """
    if not isinstance(header, Mapping) or not {"request_id", "ref", "generation", "delivery"} <= header.keys():
        return None
    names = "{request_id}-{ref}-{generation}.{delivery}".format_map(header)
    return header if names == message_id else None


def each_of(named: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The runs or stages that a message calls for, each as if it had a message to itself.

    >>> [one["ref"] for one in each_of({"ref": "pack0", "refs": ["0", "1"], "generation": 1})]
    ['0', '1']
    """
    for ref in named.get("refs") or (named["ref"],):
        yield {name: value for name, value in named.items() if name != "refs"} | {"ref": ref}


def our_queue(name: str, kind: str = "classic") -> Queue:
    """The queue for our messages: durable, and made for priorities where its kind has them.

    A quorum queue has no usable ones before RabbitMQ 4.3.
    """
    arguments = {"x-queue-type": "quorum"} if kind == "quorum" else {"x-max-priority": 9}
    return Queue(name, Exchange(name, type="direct"), routing_key=name, queue_arguments=arguments)


def task_id(order: Order | Message) -> str:
    """A message's task id: the run or stage and which delivery of it this is."""
    return f"{order.request_id}-{order.ref}-{order.generation}.{order.delivery}"


def send_ours(app: Celery, producer: Any, order: Order, queue: Queue) -> None:
    """Send the message of a declared collector or stage to our own queue."""
    args = (order.topic,) if order.ref.isdigit() else ()
    _send_prepared(app, producer, order, queue, call=(args, {"request_id": order.request_id}), named=_named(order))


def send_pack(app: Celery, producer: Any, pack: Pack, queue: Queue) -> None:
    """Send the one message of several runs to our own queue."""
    first = pack.orders[0]
    refs = [order.ref for order in pack.orders]
    order = msgspec.structs.replace(first, ref=f"pack{first.ref}", task=PACK_TASK)
    named = _named(order) | {"refs": refs, "on_loop": pack.on_loop}
    call = ((first.topic,), {"request_id": first.request_id, "runs": _names(pack)})
    _send_prepared(app, producer, order, queue, call=call, named=named)


def _names(pack: Pack) -> str:
    """Which runs they are, for whoever looks at the message."""
    shown = ", ".join(order.name for order in pack.orders[:SHOWN_NAMES])[:SHOWN_CHARS]
    return shown + (", …" if len(pack.orders) > SHOWN_NAMES else "")


def send_call(app: Celery, producer: Any, order: Order, signature: Signature, queue: Queue | None) -> None:
    """Send the message of a chord's member, callback or link, as its own task would be sent.

    Args:
        app: The app.
        producer: Of the connection whose confirms are awaited.
        order: What the ledger handed out.
        signature: The step of the stored call that the order is for.
        queue: Our own, where a declared collector or stage goes; ``None`` leaves it to the app's routes.
    """
    data = _placeholders(app, order, signature)
    named = _named(order) | {"call": True, "data": len(data)}
    args = (*data, *signature.args)
    options = sent_options(signature)
    if queue is not None and not options:
        return _send_prepared(app, producer, order, queue, call=(args, dict(signature.kwargs)), named=named)
    if queue is not None:
        options = {"queue": queue, "priority": _priority(producer, order), "serializer": "json"} | options
    if order.level_given:  # to the whole request, since it was opened
        options["priority"] = _priority(producer, order)
    task = app.tasks.get(order.task)
    plain = task is not None and queue is None
    send: Callable[..., Any] = task.apply_async if plain else _by_name(app, order.task)
    limit_s = order.time_left_ms / 1000 + LIMIT_GRACE_S
    own_limit_s = options.pop("time_limit", None) or getattr(task, "time_limit", None)
    send(
        args,
        dict(signature.kwargs),
        **options
        | {
            "task_id": task_id(order),
            "root_id": order.request_id,
            "headers": {**(options.get("headers") or {}), HEADER: named},
            "producer": producer,
            "retry": False,
            "retries": order.failures,
            "ignore_result": True,
            "expires": None,  # the task's own, too: the ledger ends what is late
            "add_to_parent": False,
            "time_limit": min(own_limit_s or limit_s, limit_s),
            "kwargsrepr": options.get("kwargsrepr") or _shown(signature.kwargs, order),
        },
    )
    return None


def _placeholders(app: Celery, order: Order, signature: Signature) -> tuple[Any, ...]:
    """What stands for the data that the worker puts first: no item rides in a message."""
    if signature.immutable or (order.ref.isdigit() and not order.step):
        return ()
    if order.ref.startswith("link_error"):
        return (None,) * (3 if takes_error(app, order.task) else 1)
    return (None,)


def takes_error(app: Celery, name: str) -> bool:
    """Whether an errback takes ``(request, exc, traceback)``, or the failed task's id only.

    As Celery decides it: a bound task takes the id.
    """
    from functools import partial

    from celery.utils.functional import arity_greater

    header = getattr(app.tasks.get(name), "__header__", None)
    return header is not None and not isinstance(header, partial) and arity_greater(header, 1)


def _by_name(app: Celery, name: str) -> Callable[..., Any]:
    """Send a task that only its worker knows."""

    def send(args: Any, kwargs: Any, **options: Any) -> Any:
        return app.send_task(name, args, kwargs, **options)

    return send


def _send_prepared(
    app: Celery,
    producer: Any,
    order: Order,
    queue: Queue,
    *,
    call: tuple[tuple[Any, ...], dict[str, Any]],
    named: dict[str, Any],
) -> None:
    """Send a message of ours without the detour over ``apply_async``, which takes three times as long."""
    args, kwargs = call
    message = app.amqp.as_task_v2(
        task_id(order),
        order.task,
        args,
        kwargs,
        argsrepr=saferepr(args, SHOWN_CHARS),
        kwargsrepr=_shown(kwargs, order),
        root_id=order.request_id,
        retries=order.failures,
        ignore_result=True,
        create_sent_event=app.conf.task_send_sent_event,
    )
    app.amqp.send_task_message(
        producer,
        order.task,
        message,
        queue=queue,
        declare=[],  # once per connection is enough
        headers={HEADER: named},
        serializer="json",
        delivery_mode=2,
        priority=_priority(producer, order),
        mandatory=True,
        retry=False,
    )


def _priority(producer: Any, order: Order) -> int:
    table = _AMQP_PRIORITY if "amqp" in producer.connection.transport.driver_type else _REDIS_PRIORITY
    return table.get(order.priority, table["normal"])


def _named(order: Order) -> dict[str, Any]:
    return {name: getattr(order, name) for name in ("request_id", "ref", "generation", "delivery", "stamp")}


def _shown(kwargs: dict[str, Any], order: Order) -> str:
    """The keyword arguments as Flower shows them; its filter finds a request's tasks by them.

    Abbreviated, as Celery does it: they are a header, and RabbitMQ takes none above its frame size.
    """
    return str(saferepr({"request_id": order.request_id, **kwargs}, SHOWN_CHARS))
