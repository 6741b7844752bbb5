"""Serving the app with uvicorn."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import uvicorn

from celery_collectors.collectors import Collectors
from celery_collectors.errors import SettingsError
from celery_collectors.web.app import create_app
from celery_collectors.web.face import Limits
from celery_collectors.web.guard import is_loopback
from celery_collectors.web.keys import Keys

STOP_S = 5


def make_server(
    collectors: Collectors,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    keys: Path | None = None,
    hosts: Iterable[str] = (),
    limits: Limits | None = None,
    flower: str | None = None,
) -> uvicorn.Server:
    """The server: its ``run()`` serves until SIGINT or SIGTERM.

    Args:
        collectors: The facade.
        host, port: Where to listen.
        keys: The file of keys' hashes; needed to be reached from other machines.
        hosts: Names by which it is called, beside those of the loopback.
        limits: How much it takes on.
        flower: Where a browser finds Flower.

    Raises:
        SettingsError: when it would be open to everyone who reaches this machine, or Flower's address is none.
    """
    if keys is None and not is_loopback(host):
        raise SettingsError(
            f"{host} can be reached from other machines, so a file of keys is needed; or listen on 127.0.0.1"
        )
    app = create_app(
        collectors,
        keys=Keys.load(keys) if keys else None,
        hosts=[host, *hosts],
        limits=limits,
        flower=flower,
        stopping=lambda: server.should_exit,
    )
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
        timeout_keep_alive=5,
    )
    server = uvicorn.Server(config)
    return server
