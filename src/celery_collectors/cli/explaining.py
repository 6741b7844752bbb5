"""``collect --explain``: what the question would become, without asking it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_collectors.cli.place import Place
    from celery_collectors.explain import Explanation

ASKED_ONLY = ("deadline", "finish", "key", "priority")
"""What a question has that its plan does not depend on."""


def print_explanation(place: Place, topic: str, asked: dict[str, Any], *, as_json: bool) -> None:
    """Print a question's plan on stdout."""
    from celery_collectors.cli.output import print_json

    wanted = {name: value for name, value in asked.items() if name not in ASKED_ONLY}
    found = place.collectors.explain(topic, **wanted)
    if as_json:
        return print_json(found.to_dict())
    return _print(found)


def _print(found: Explanation) -> None:
    from celery_collectors.cli.tables import print_planned

    runs = [
        {
            "collector": run.name + (" (required)" if run.required else ""),
            "message": str(run.message),
            "because": run.why,
            "known": _seconds(run.known_s),
            "timeout": f"{run.timeout_s:g} s",
            "retries": str(run.retries),
        }
        for run in found.runs
    ]
    stages = [
        {
            "collector": f"({stage.ref}) {stage.name}",
            "message": "in place" if stage.in_place else "its own",
            "because": "short" if stage.in_place else "unknown" if stage.known_s is None else "long",
            "known": _seconds(stage.known_s),
            "timeout": "",
            "retries": "",
        }
        for stage in found.stages
    ]
    print_planned([*runs, *stages], f"{found.messages} messages for {found.topic}", sys.stdout)


def _seconds(known_s: float | None) -> str:
    return "" if known_s is None else f"{known_s * 1000:.1f} ms" if known_s < 1 else f"{known_s:.1f} s"
