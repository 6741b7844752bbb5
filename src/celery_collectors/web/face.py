"""What every endpoint is given: the facade, the threads it is called in, and the limits."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
import msgspec

from celery_collectors.collectors import Collectors
from celery_collectors.handle import Request
from celery_collectors.web.open_requests import OpenRequests

P = ParamSpec("P")
T = TypeVar("T")

POLL_S = 0.2
PIECE_BYTES = 64 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one process of the HTTP face takes on.

    Attributes:
        body_bytes: A request's body; a topic is short, and there is nothing else to send.
        open_requests: Requests asked for or tried again here that have not ended.
        threads: Calls of the facade at once; what comes on top waits its turn.
        wait_s: The longest ``Prefer: wait=n``.
        heartbeat_s: How often a silent event stream says that it lives.
        stream_s: After this long a stream is closed; its reader goes on with ``Last-Event-ID``.
    """

    body_bytes: int = 64 * 1024
    open_requests: int = 1000
    threads: int = 20
    wait_s: float = 60.0
    heartbeat_s: float = 15.0
    stream_s: float = 3600.0


class Face:
    """One app's facade, called from the event loop.

    Args:
        collectors: The facade.
        limits: How much to take on.
        stopping: Says whether the server is about to stop, and streams should end.
    """

    def __init__(self, collectors: Collectors, limits: Limits, stopping: Callable[[], bool]) -> None:
        self.collectors = collectors
        self.limits = limits
        self.stopping = stopping
        self.opened = OpenRequests(collectors, limits.open_requests)
        self._threads = anyio.CapacityLimiter(limits.threads)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what blocks, in a thread; only so many at once."""
        call = functools.partial(function, *args, **kwargs)
        return await anyio.to_thread.run_sync(call, limiter=self._threads)

    async def get(self, request_id: object) -> Request:
        """The handle of a request.

        Raises:
            RequestUnknown: when the ledger does not hold it.
        """
        return await self.call(self.collectors.get, str(request_id))

    async def until_final(self, request: Request, wait_s: float) -> bool:
        """Wait for a request's end, so many seconds at most; returns whether it came."""
        ends_at = anyio.current_time() + wait_s
        after = await self.call(request.last_event_id)
        while not self.stopping():
            found = await self.call(request.happened, after)
            after = found[-1].id if found else after
            if not found and await self.call(lambda: request.is_final):
                return True
            if anyio.current_time() >= ends_at:
                return False
            await anyio.sleep(0 if found else POLL_S)
        return False

    async def in_pieces(self, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        """The same bytes in larger pieces, each made in a thread that does not wait for a slow reader."""
        while piece := await self.call(_piece, chunks):
            yield piece


def _piece(chunks: Iterator[bytes]) -> bytes:
    piece = bytearray()
    for chunk in chunks:
        piece += chunk
        if len(piece) >= PIECE_BYTES:
            break
    return bytes(piece)


def as_json(value: Any) -> bytes:
    r"""A value of any kind that items have, as JSON.

    >>> as_json({"price": 1.5, "odd": "\ud800"})
    b'{"price": 1.5, "odd": "\\ud800"}'
    >>> as_json({None: 1})
    b'{"null": 1}'
    """
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, TypeError):  # half a character, which UTF-8 can't hold; a key that is no text
        import json

        return json.dumps(msgspec.to_builtins(value)).encode()
