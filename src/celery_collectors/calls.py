"""A chord's calls: the signatures of its members, its callback and its links, as the ledger keeps them.

A call is one task or a chain of them. What its messages are made from is stored when the chord is opened, so that
any process can send them: whoever opened it, a sweeper, the worker that finished the step before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from celery import Celery
from celery.canvas import Signature
from kombu import serialization

_OURS = ("task_id", "countdown", "eta", "expires", "chord", "group_id", "group_index", "root_id", "parent_id", "chain")
"""Options that are the ledger's part: when a message is sent, under which id, and what follows it."""


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    media: str
    encoding: str
    data: str
    binary: bool = False


def encode_call(app: Celery, steps: Sequence[Signature]) -> str:
    """A call as text, with the app's own task serializer.

    Raises:
        kombu.exceptions.EncodeError: for arguments that the serializer can't take.
    """
    plain = [{**step, "options": sent_options(step)} for step in steps]
    media, encoding, data = serialization.dumps(plain, app.conf.task_serializer)
    binary = isinstance(data, bytes)
    text = data.decode("latin-1") if binary else data  # bytes as they are: an id can be found and replaced in them
    return msgspec.json.encode(_Stored(media=media, encoding=encoding, data=text, binary=binary)).decode()


def plain_call(text: str) -> list[dict[str, Any]] | None:
    """The steps of a call as plain data, to be looked at; ``None`` where they are not JSON: nothing is unpickled."""
    stored = msgspec.json.decode(text, type=_Stored)
    if stored.media != "application/json":
        return None
    found: list[dict[str, Any]] = serialization.loads(stored.data, stored.media, stored.encoding, accept=[stored.media])
    return found


def decode_call(app: Celery, text: str) -> list[Signature]:
    """Read back what :func:`encode_call` wrote."""
    stored = msgspec.json.decode(text, type=_Stored)
    data = stored.data.encode("latin-1") if stored.binary else stored.data
    accept = serialization.prepare_accept_content([*app.conf.accept_content, app.conf.task_serializer])
    plain = serialization.loads(data, stored.media, stored.encoding, accept=accept)
    return [Signature.from_dict(step, app=app) for step in plain]


def sent_options(signature: Signature) -> dict[str, Any]:
    """The options that a signature's message keeps."""
    return {name: value for name, value in signature.options.items() if name not in _OURS}


def seconds_until(when: Any, now: datetime) -> float:
    """How long until a time as Celery's options have it: seconds, a ``datetime`` (naive ones are UTC), or its text."""
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    if isinstance(when, timedelta):
        return when.total_seconds()
    if not isinstance(when, datetime):
        return float(when)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now.timestamp()


def says_acks_early(task: Any) -> bool:
    """Whether a task's own code says ``acks_late=False``, as against the default that every task is given.

    Celery fills in what a class leaves open when it binds it to its app, and so after ``__bound__`` is written: what
    stands before that in a class was said by its author.
    """
    for cls in type(task).__mro__:
        said = list(vars(cls))
        if vars(cls).get("acks_late") is None:
            continue
        return vars(cls)["acks_late"] is False and not (
            "__bound__" in said and said.index("__bound__") < said.index("acks_late")
        )
    return False


def accepted(app: Celery) -> list[str]:
    """The content types of results that the app decodes."""
    return list(app.conf.result_accept_content or app.conf.accept_content)
