"""What was asked of each run and stage, and which message it came with last, as far as the ledger knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from celery_collectors.errors import RequestUnknown
from celery_collectors.ledger.ledger import Ledger
from celery_collectors.ledger.stored import HEAD, head_of, records_of
from celery_collectors.model import RUN_ENDED, STAGES, RunState


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What a message's task id is made of."""

    request_id: str
    ref: str
    generation: int
    delivery: int


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One run or stage as it was asked.

    Attributes:
        ref: A run's place in the order asked; a stage's word.
        name: The run's; the stage's function's.
        task, queue: Its Celery task, and where its messages go.
        timeout_s: How long an attempt may take; of a stage there is no such limit.
        retries: How often it is tried again by itself.
        required: Whether the request needs its answer.
        priority: One of its own, if it has any.
        call: Whether it is a chord's, with arguments of its own.
        message: What it came with last; ``None`` where that is not known: it waits yet, may have shared a message with
            others, or was begun in place.
    """

    ref: str
    name: str
    task: str
    queue: str
    timeout_s: float | None = None
    retries: int = 0
    required: bool = False
    priority: str | None = None
    call: bool = False
    message: Message | None = None


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a request was asked with.

    Attributes:
        topic, priority, messages, min_ok, first: As :meth:`Collectors.request` has them; the priority as it is now.
        deadline_s, finish_s: How long its present generation may collect, and its stages may take after that.
        rows: Its runs in the order asked, then those stages that were reached.
    """

    topic: str
    priority: str
    messages: str
    min_ok: int
    first: int | None
    deadline_s: float
    finish_s: float
    rows: tuple[Asked, ...]


def read_asked(ledger: Ledger, request_id: str) -> Question:
    """What a request was asked with, and what of each of its runs and stages.

    Raises:
        RequestUnknown: when the ledger does not hold it.
    """
    with ledger.answering() as client:
        fields: Any = client.hgetall(ledger.key("request", request_id))
    head = head_of(*(fields.get(name.encode()) for name in HEAD))
    if head is None:
        raise RequestUnknown(request_id)
    records = records_of(head, fields)
    runs = sorted((ref for ref in records if ref.isdigit()), key=int)
    stages = [ref for ref in STAGES if ref in records]
    head["id"] = request_id
    return Question(
        topic=head["topic"],
        priority=head["priority"],
        messages=head.get("messages", "each"),
        min_ok=head["min_ok"],
        first=head["first"],
        deadline_s=(head["deadline_at"] - head.get("began_at", head["created_at"])) / 1000,
        finish_s=(head["finish_at"] - head["deadline_at"]) / 1000,
        rows=tuple(_asked(head, ref, records[ref]) for ref in (*runs, *stages)),
    )


def read_call(ledger: Ledger, request_id: str, ref: str, most_bytes: int) -> str | None:
    """The stored call of a chord's member or callback; ``None`` if there is none, or a larger one."""
    place = ledger.key("calls", request_id)
    with ledger.answering() as client:
        size_bytes: Any = client.hstrlen(place, ref)
        found: Any = client.hget(place, ref) if size_bytes <= most_bytes else None
    return None if found is None else found.decode()


def _asked(head: Mapping[str, Any], ref: str, record: Mapping[str, Any]) -> Asked:
    timeout_ms = record.get("timeout_ms") if ref.isdigit() else None
    return Asked(
        ref=ref,
        name=record["name"],
        task=record.get("task", ""),
        queue=record.get("queue", ""),
        timeout_s=None if timeout_ms is None else timeout_ms / 1000,
        retries=record.get("retries", 0),
        required=record.get("required", False),
        priority=record.get("priority"),
        call=record.get("call", False),
        message=_message(head, ref, record) if _has_own_message(head, ref, record) else None,
    )


def _has_own_message(head: Mapping[str, Any], ref: str, record: Mapping[str, Any]) -> bool:
    """Whether it can't have shared a message: only what is called for first does, and a stage may go on in place."""
    if head.get("messages") != "auto":
        return True
    if ref in STAGES:
        return bool(record.get("call") and not record.get("declared"))
    return bool(record.get("call")) or record.get("delivery", 1) > 1


def _message(head: Mapping[str, Any], ref: str, record: Mapping[str, Any]) -> Message | None:
    generation = _generation(head, ref, record)
    if generation is None or not record.get("attempt") or record["state"] == RunState.QUEUED:
        return None  # what no worker has had is in no list of tasks yet
    return Message(request_id=head["id"], ref=ref, generation=generation, delivery=record.get("delivery", 1))


def _generation(head: Mapping[str, Any], ref: str, record: Mapping[str, Any]) -> int | None:
    """In which it was called for: what answered earlier stays as it was when others are tried again."""
    present: int = head["generation"]
    is_of_present = present == 1 or ref in STAGES or record["state"] not in RUN_ENDED
    return present if is_of_present else record.get("generation")
