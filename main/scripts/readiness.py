"""Telling when Flower knows the worker, which is when its page is worth opening."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

_PATIENCE_S = 120.0
_POLL_S = 0.3
_ANSWER_TIMEOUT_S = 5.0


def announce(url: str, login: str, say: Callable[[str], None]) -> None:
    """Say it once, from a thread that nobody has to wait for.

    Flower asks for workers when it starts, too early for one that starts beside it, and until it has asked
    again its API answers "Unknown worker". So it is made to ask.
    """
    threading.Thread(target=_announce, args=(url, login, say), daemon=True).start()


def _announce(url: str, login: str, say: Callable[[str], None]) -> None:
    end_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end_s:
        if _asked(f"{url}/workers?json=1", login).get("data") and _asked(f"{url}/api/workers?refresh=1", login):
            say(f"ready: Flower answers at {url} and knows the worker")
            return
        time.sleep(_POLL_S)


def _asked(url: str, login: str) -> dict[str, Any]:
    """Flower's answer; empty if it is not there yet."""
    credentials = base64.b64encode(login.encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {credentials}"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            request, timeout=_ANSWER_TIMEOUT_S
        ) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError):
        return {}
