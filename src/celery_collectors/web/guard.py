"""What is looked at before any endpoint: the host asked, where a request comes from, its key, its size."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from celery_collectors.web.keys import Keys
from celery_collectors.web.problems import problem

OPEN_PATHS = frozenset({"/healthz", "/readyz"})  # for whoever starts and watches the process
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
BASIC = 'Basic realm="collectors"'
BEARER = 'Bearer realm="collectors"'
OURS = ("localhost", "127.0.0.1", "::1")
SAID_WITH_ALL = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with none at all, our own forms would come from nowhere (Origin: null)
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Lets in what may come in.

    Args:
        app: What it guards.
        keys: Who may come in; ``None`` lets everyone in who gets here.
        hosts: Names by which this server is called, beside those of the loopback. A page elsewhere whose name was
            made to lead here (DNS rebinding) has another name.
        body_bytes: The largest body.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys | None, hosts: Iterable[str], body_bytes: int) -> None:
        self._app = app
        self._keys = keys
        self._hosts = frozenset(host.lower() for host in hosts) | set(OURS)
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem, or let the app answer."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers) or self._app
        reads = scope["method"] not in SAFE_METHODS  # of what others send nothing is kept, while an event stream waits
        return await answer(scope, self._bounded(receive) if reads else receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if not self._is_ours(host_of(headers.get("host", "")), scope["path"]):
            return problem(421, "this server is not called by that name; start it with this one among its hosts")
        if _is_from_elsewhere(headers) and not (scope["method"] in SAFE_METHODS and _is_followed(headers)):
            return problem(403, "a page of another site can't do this")
        if scope["path"] not in OPEN_PATHS and not self._may(scope, headers):
            return _key_wanted(is_api=scope["path"].startswith("/v1/"))
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._body_bytes:
            return self._too_large()
        return None

    def _is_ours(self, name: str, path: str) -> bool:
        """Whether it is called so; who watches it may know its address only, which no other name can be made to be."""
        return name in self._hosts or (path in OPEN_PATHS and _is_address(name))

    def _may(self, scope: Scope, headers: Headers) -> bool:
        if self._keys is None:
            return True
        name = self._keys.whose(key_in(headers.get("authorization", "")))
        scope.setdefault("state", {})["caller"] = name
        return name is not None

    def _too_large(self) -> Response:
        return problem(413, f"a body has at most {self._body_bytes} bytes")

    def _bounded(self, receive: Receive) -> Receive:
        """For a body that did not say how long it is."""
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._body_bytes:
                raise HTTPException(413, f"a body has at most {self._body_bytes} bytes")
            return message

        return bounded


def _key_wanted(*, is_api: bool) -> Response:
    """A browser can ask a person for a password, and only for that: the key is the password.

    To the API, where a request's page hears what happens, it sends that only if it is asked for it there, too, and in
    a header of its own: of several ways in one it sees the first.
    """
    answer = problem(401, "send a key, as 'Authorization: Bearer KEY'")
    for way in (BEARER, BASIC) if is_api else (BASIC,):
        answer.headers.append("WWW-Authenticate", way)
    return answer


def host_of(text: str) -> str:
    """The name in a Host header or an origin, without its port.

    >>> host_of("localhost:8000"), host_of("[::1]:8000")
    ('localhost', '::1')
    """
    try:
        return (urlsplit(f"//{text}").hostname or "").lower()
    except ValueError:
        return ""


def key_in(authorization: str) -> str:
    """The key in an Authorization header: a bearer token, or the password that a browser asked for."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "replace").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server bound to this address.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0"), is_loopback("localhost")
    (True, False, True)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_from_elsewhere(headers: Headers) -> bool:
    """Whether a browser sends this for a page of another site; what is no browser says neither."""
    if (site := headers.get("sec-fetch-site")) is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.lower().partition("://")[2] != headers.get("host", "").lower()


def _is_followed(headers: Headers) -> bool:
    """Whether a person follows a link; what another page fetches for itself it can't read, but let us work for."""
    return (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SAID_WITH_ALL.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
