"""An S3 of the tests' own: moto's, behind a real HTTP server on a free port of the loopback."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

SECRETS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "the-tests-own-secret"}


@dataclass(frozen=True)
class S3:
    """A running server."""

    endpoint: str

    def bucket(self, name: str) -> str:
        """Make a bucket; return the URL for the setting ``payloads``."""
        put = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        with urllib.request.urlopen(put, timeout=10) as answer:
            assert answer.status == 200
        options = urlencode({"endpoint": self.endpoint, "region": "us-east-1"})
        return f"s3://{name}/in/here?{options}"


@contextmanager
def an_s3() -> Iterator[S3]:
    """A server, while the block lasts."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3(f"http://{host}:{port}")
    finally:
        server.stop()
