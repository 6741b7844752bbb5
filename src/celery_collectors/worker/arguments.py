"""Large arguments of plain calls of our tasks (``cleanup.delay(many_items, …)``) travel by reference, too.

One of more than ``inline_bytes`` is stored by whoever calls, under a key of its own, which is removed after
``result_ttl_s``; its place in the message is taken by a small dict that says where it lies.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import chain
from types import NoneType
from typing import Any

from celery_collectors.errors import BadItems, PayloadError
from celery_collectors.ledger import Held
from celery_collectors.payloads import Value, encode_items
from celery_collectors.payloads.codec import Chunk
from celery_collectors.worker.process import Process

REFERENCE = "collectors:payload"
ITEM = "collectors:item"
SMALL = (NoneType, bool, int, float)
LISTS = (list, tuple)


def referred(process: Process, args: Iterable[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The same arguments, with references in place of the large ones."""
    return [_referred(process, one) for one in args], {name: _referred(process, one) for name, one in kwargs.items()}


def _referred(process: Process, argument: Any) -> Any:
    inline_bytes = process.settings.inline_bytes
    if isinstance(argument, SMALL) or (isinstance(argument, str | bytes) and len(argument) <= inline_bytes // 4):
        return argument
    is_list = type(argument) in LISTS
    chunks = encode_items(list(argument) if is_list else [argument])
    try:
        first = next(chunks, None)
        if first is None or len(first.data) <= inline_bytes:
            return argument
        value = _stored(process, chain([first], chunks))
    except BadItems:  # the app's own serializer may know what to do with it
        return argument
    return {(REFERENCE if is_list else ITEM): base64.b64encode(value.to_bytes()).decode()}


def _stored(process: Process, chunks: Iterable[Chunk]) -> Value:
    """Store an argument as an attempt of no request stores its output, to be looked at when its time is over."""
    held = Held(request_id=str(uuid.uuid4()), ref="argument", generation=1, attempt=1)
    note = partial(process.ledger.note_stored, held, look_s=process.settings.result_ttl_s)
    writer = process.store.writer(process.ledger.payload_key(held), note)
    try:
        with process.ledger.answering():
            for chunk in chunks:
                writer.add(chunk)
            return writer.close()
    except BadItems:
        if writer.has_stored:
            process.ledger.note_unwanted(held)
        raise


def resolved(
    process: Process, name: str, args: Iterable[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as the caller gave them.

    Args:
        process: This process.
        name: The task's, for the error.
        args, kwargs: What came in its message.

    Raises:
        PayloadError: when one of them is damaged or gone.
    """
    return [_resolved(process, name, one) for one in args], {
        keyword: _resolved(process, name, one) for keyword, one in kwargs.items()
    }


def has_references(args: Iterable[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether any of them is a reference."""
    return any(_is_reference(one) for one in (*args, *kwargs.values()))


def _is_reference(argument: Any) -> bool:
    return type(argument) is dict and len(argument) == 1 and not argument.keys().isdisjoint((REFERENCE, ITEM))


def _resolved(process: Process, name: str, argument: Any) -> Any:
    if not _is_reference(argument):
        return argument
    ((kind, text),) = argument.items()
    try:
        value = Value.from_bytes(base64.b64decode(text, validate=True))
        with process.ledger.answering():
            found = list(process.store.items(value))
    except (PayloadError, ValueError, TypeError) as error:
        raise PayloadError(f"an argument that {name} was called with can't be had any more: {error}") from error
    return found if kind == REFERENCE else found[0]
