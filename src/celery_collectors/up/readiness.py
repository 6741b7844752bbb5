"""Telling when something answers, which is when it is worth opening."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from celery_collectors.errors import CollectorsError

_PATIENCE_S = 120.0
_POLL_S = 0.3
_ANSWER_TIMEOUT_S = 5.0


def announce(is_ready: Callable[[], bool], text: str, say: Callable[[str], None]) -> None:
    """Say something once it is true, from a thread that nobody has to wait for."""
    threading.Thread(target=_announce, args=(is_ready, text, say), daemon=True).start()


def _announce(is_ready: Callable[[], bool], text: str, say: Callable[[str], None]) -> None:
    end_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end_s:
        try:
            ready = is_ready()
        except CollectorsError:  # the ledger is away, for now
            ready = False
        if ready:
            return say(text)
        time.sleep(_POLL_S)
    return None


def flower_knows_workers(url: str, login: str) -> bool:
    """Whether Flower's page is worth opening.

    Flower asks for workers when it starts, too early for one that starts beside it, and until it has asked
    again its API answers "Unknown worker". So it is made to ask.
    """
    return bool(_asked(f"{url}/workers?json=1", login).get("data") and _asked(f"{url}/api/workers?refresh=1", login))


def answers(url: str) -> bool:
    """Whether an HTTP server is there, whatever it says."""
    try:
        with _open(urllib.request.Request(url)):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


def _asked(url: str, login: str) -> dict[str, Any]:
    """Flower's answer; empty if it is not there yet."""
    credentials = base64.b64encode(login.encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {credentials}"})
    try:
        with _open(request) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError):
        return {}


def _open(request: urllib.request.Request) -> Any:
    """Past any proxy: it is on this machine."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_ANSWER_TIMEOUT_S)
