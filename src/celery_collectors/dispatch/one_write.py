"""Many AMQP messages in one write to the socket: what each costs is mostly its way through the kernel."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amqp.spec import Basic

_METHOD = 1  # the type of a frame that begins a method; others go on with one
_PUBLISH = struct.pack(">HH", *Basic.Publish)


@contextmanager
def one_write(transport: Any, timeout_s: float) -> Iterator[None]:
    """Hold back what is published, and write it at the end; nothing of it is written after an error.

    Anything else goes out at once, after what was held back before it: whoever asks the broker something waits for
    its answer.

    This leans on a private name of py-amqp's: ``_write``, through which its ``write`` sends. Where that is not so,
    each message is a write of its own.

    Args:
        transport: py-amqp's, of a connection that nobody else uses meanwhile.
        timeout_s: How long the write may take.
    """
    write = getattr(transport, "_write", None)
    if write is None:
        yield
        return
    held = bytearray()

    def hold(frames: Any) -> None:
        held.extend(frames)
        if frames[0] == _METHOD and bytes(frames[7:11]) != _PUBLISH:
            asked = bytes(held)
            held.clear()
            write(asked)

    transport._write = hold
    try:
        yield
    finally:
        transport._write = write
    if held:
        with transport.having_timeout(timeout_s):
            transport.write(held)
