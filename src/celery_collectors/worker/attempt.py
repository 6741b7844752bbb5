"""What one attempt came to: the same record for a run and a stage, in a thread and on the loop."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterable, Iterable
from types import TracebackType
from typing import Any

import msgspec
from celery.exceptions import SoftTimeLimitExceeded

from celery_collectors.errors import (
    BadItems,
    CollectError,
    PayloadsUnavailable,
    PermanentError,
    Stopped,
    TimedOut,
    TooLarge,
)
from celery_collectors.ledger import Grant
from celery_collectors.model import ErrorInfo
from celery_collectors.payloads import Value

MESSAGE_MAX_CHARS = 500
TRACEBACK_MAX_CHARS = 6000
STORE_PAUSE_S = 5.0
_SAY_ALL = (TimedOut, Stopped, BadItems, TooLarge, PayloadsUnavailable)  # a traceback would only lead to our code


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended.

    Attributes:
        state: As :meth:`Ledger.settle` takes it.
        value: Its output, where it answered.
        run_s: How long it took.
        error: What went wrong, for the ledger.
        cause: The exception itself, for the worker's log and Flower.
        again_s: Where the code asked to be tried again: after how long.
        call: And with what, if not with the same.
        leaves: Whether it has stored something that its value does not point to.
    """

    state: str
    value: Value = Value()
    run_s: float = 0.0
    error: ErrorInfo | None = None
    cause: BaseException | None = None
    again_s: float | None = None
    call: str = ""
    leaves: bool = False


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a fetched run or stage ended, and the stage that this process may go on with in place."""

    attempt: Attempt | None = None
    next: Grant | None = None


def answered(value: Value, run_s: float) -> Attempt:
    """The attempt that ended with this value."""
    return Attempt(state="ok" if value.items else "empty", value=value, run_s=run_s)


def stage_ended(attempt: Attempt) -> Attempt:
    """The same attempt, of a stage: there, to produce nothing is to succeed."""
    return msgspec.structs.replace(attempt, state="ok") if attempt.state == "empty" else attempt


def failed(cause: BaseException, run_s: float) -> Attempt:
    """The attempt that ended with this exception; if the store was away, it is tried again, whatever was declared."""
    if isinstance(cause, MemoryError):  # what its frames hold is let go, or nothing would be left to settle with
        traceback.clear_frames(cause.__traceback__)
    state = "timed_out" if isinstance(cause, (TimedOut, SoftTimeLimitExceeded)) else "failed"
    again_s = STORE_PAUSE_S if isinstance(cause, PayloadsUnavailable) else None
    return Attempt(state=state, run_s=run_s, error=describe(cause), cause=cause, again_s=again_s)


def describe(cause: BaseException) -> ErrorInfo:
    """Say for the report what went wrong, and whether trying again can help.

    >>> describe(ValueError("no such feed")).message
    'no such feed'
    """
    permanent = isinstance(cause, (PermanentError, TypeError, NameError, AttributeError, ImportError))
    return ErrorInfo(
        type="Timeout" if isinstance(cause, TimedOut) else type(cause).__name__,
        kind="config" if permanent else "system" if isinstance(cause, PayloadsUnavailable) else "transient",
        message=_first_line(cause),
        retryable=not permanent and not isinstance(cause, Stopped),
        traceback=None if isinstance(cause, _SAY_ALL) else _traceback(cause),
    )


def own_frames(cause: BaseException) -> TracebackType | None:
    """The exception's traceback without our frames above the collector's: theirs are what helps."""
    frames = cause.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("celery_collectors."):
        frames = frames.tb_next
    return frames


def _first_line(cause: BaseException) -> str:
    try:
        text = str(cause).strip()
    except Exception as error:  # noqa: BLE001 - the collector's code, too
        text = f"{type(cause).__name__}, whose text can't be had: its __str__ raised {type(error).__name__}"
    return _storable((text or type(cause).__name__).splitlines()[0][:MESSAGE_MAX_CHARS])


def _traceback(cause: BaseException) -> str:
    text = "".join(traceback.format_exception(type(cause), cause, own_frames(cause)))
    return _storable(text if len(text) <= TRACEBACK_MAX_CHARS else "…\n" + text[-TRACEBACK_MAX_CHARS:])


def _storable(text: str) -> str:
    """The same text with lone surrogates spelled out: JSON can't hold them, and a report has to be."""
    return text.encode("utf-8", "backslashreplace").decode()


def as_items(result: Any) -> Iterable[Any]:
    """What a collector or stage returned, as items; ``None`` is none at all.

    Raises:
        BadItems: for one thing that is not several, which is more often a slip than an intention.
    """
    if result is None:
        return ()
    if isinstance(result, (str, bytes, bytearray, dict)) or not isinstance(result, Iterable):
        raise BadItems(
            f"returned {type(result).__name__} where a list of items is wanted; for a single item, return [item]"
        )
    return result


def is_async_items(result: Any) -> bool:
    """Whether a collector's result is to be iterated with ``async for``."""
    return isinstance(result, AsyncIterable)


def for_celery(cause: BaseException) -> Exception:
    """What the task should raise, so that Flower shows a failure and Celery does nothing else about it.

    Celery gives a meaning of its own to ``Ignore``, ``Reject``, ``Retry``, ``SystemExit`` and ``MemoryError`` (which
    ends its whole worker); a collector that raises one of those has failed like any other. Nor does one pass whose
    text is long or can't be had: it would ride in Flower's event and stand in the log.
    """
    is_celerys = isinstance(cause, MemoryError) or type(cause).__module__.startswith("celery.exceptions")
    if isinstance(cause, Exception) and not is_celerys and _is_small(cause):
        return cause.with_traceback(own_frames(cause))
    return CollectError(f"{type(cause).__name__}: {_first_line(cause)}")


def _is_small(cause: BaseException) -> bool:
    try:
        return len(repr(cause)) + len(str(cause)) <= TRACEBACK_MAX_CHARS
    except Exception:  # noqa: BLE001 - the collector's code, too
        return False
