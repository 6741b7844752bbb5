"""Whether TLS, where it is used, knows whom it talks to: a certificate that nobody checks keeps nobody out."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from celery_collectors.cli.check import Check
from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.place import Place, broker_connection
from celery_collectors.settings import redis_url

NAME = "encryption"


def encryption(place: Place) -> Iterator[Check]:
    """One finding for the broker and one for the ledger, if they are reached over TLS."""
    with suppress(Complaint):  # a URL that can't be read is the broker check's finding
        connection = broker_connection(place)
        if connection.ssl:
            options = connection.ssl if isinstance(connection.ssl, dict) else {}
            is_amqp = connection.transport.driver_type == "amqp"
            yield of_amqp(options) if is_amqp else of_redis("broker", options)
    ledger = urlsplit(redis_url(place.collectors.ledger_url))
    if ledger.scheme == "rediss":
        yield of_redis("ledger", dict(parse_qsl(ledger.query)))


def of_redis(server: str, options: Mapping[str, Any]) -> Check:
    """What the options of a ``rediss://`` URL come to; without any, kombu checks nothing and redis-py does."""
    if options.get("ssl_cert_reqs", "required") in (ssl.CERT_REQUIRED, "required"):
        return _checked(server)
    return Check(
        name=NAME,
        state="warn",
        message=f"the {server}'s certificate is not checked: whoever is in between can read along, and answer",
        remedy="add ssl_cert_reqs=required to its URL, and ssl_ca_certs=FILE for an authority of your own",
    )


def of_amqp(options: Mapping[str, Any]) -> Check:
    """What an ``amqps://`` URL and ``broker_use_ssl`` come to; py-amqp checks no names unless it is told one."""
    if any(option.startswith("ssl_") for option in options):
        return Check(
            name=NAME,
            state="fail",
            message="an amqps:// URL takes no TLS options, and this one has some: no worker can connect",
            remedy="take ssl_… out of it; for an authority of your own set SSL_CERT_FILE, or app.conf.broker_use_ssl",
        )
    checked = options.get("cert_reqs") != ssl.CERT_NONE
    if checked and ("server_hostname" in options or "context" in options):
        return _checked("broker")
    what = "its authority's signature, but not its name" if checked else "nothing"
    return Check(
        name=NAME,
        state="warn",
        message=f"of the broker's certificate {what} is checked: whoever has another can read along, and answer",
        remedy="set app.conf.broker_use_ssl = {'server_hostname': None}, which stands for the URL's host",
    )


def _checked(server: str) -> Check:
    return Check(name=NAME, state="ok", message=f"the {server}'s certificate is checked")
