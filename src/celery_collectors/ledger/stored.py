"""How a request lies in the ledger: one hash of MessagePack values; ``changes.lua`` says which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

HEAD = ("plan", "now")
"""The fields of a request's head: what it was opened with, and what has become of it."""

_unpacked = msgspec.msgpack.Decoder().decode


def head_of(plan: bytes | None, now: bytes | None) -> dict[str, Any] | None:
    """A request's head; ``None`` for one that is not there, or not sealed yet."""
    return None if plan is None or now is None else _unpacked(plan) | _unpacked(now)


def records_of(head: Mapping[str, Any], fields: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """The records of a request's runs, and of those stages and links that were reached, by ref."""
    named = {ref.decode(): value for ref, value in fields.items()}
    plans = {ref[1:]: _unpacked(value) for ref, value in named.items() if ref[0] == "p" and ref[1:].isdigit()}
    fresh = {ref: plan | _begun(head, plan) for ref, plan in plans.items() if ref not in named}
    plans |= {plan["ref"]: plan for kind in ("stages", "links") for plan in _several(head[kind])}
    reached = {
        ref: value for ref, value in named.items() if ref not in HEAD and not (ref[0] == "p" and ref[1:].isdigit())
    }
    return fresh | {ref: plans.get(ref, {}) | _unpacked(value) for ref, value in reached.items()}


def _several(text: str | None) -> list[dict[str, Any]]:
    return msgspec.json.decode(text) if text else []


def _begun(head: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run of which nothing has become yet, as ``changes.lua`` has it."""
    created_at = head["created_at"]
    begun = {"state": "queued", "attempt": 0, "failures": 0, "crashes": 0, "delivery": 1}
    begun["queued_at"] = created_at + plan.get("delay_ms", 0)
    return begun | ({"expires_at": created_at + plan["expires_ms"]} if "expires_ms" in plan else {})
