"""Whether a port can be had; asked before anything is started."""

from __future__ import annotations

import errno
import socket


def why_not(host: str, port: int) -> str | None:
    """What keeps us from listening there; ``None`` if nothing does.

    >>> why_not("127.0.0.1", 0) is None
    True
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as those do who will listen there
        try:
            probe.bind((host, port))
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            return "something listens there already" if in_use else error.strerror or str(error)
    return None
