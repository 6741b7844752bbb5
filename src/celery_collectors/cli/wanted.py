"""What was said before the command's name: which app, which servers."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import click

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.config import masked


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The options of ``collectors`` itself.

    Attributes:
        app: Where the app is, if that was said.
        broker, ledger: URLs, if they were said.
        celery_app: The app itself, when ``celery -A`` has imported it already.
        command: How these commands are called here, for advice that can be pasted.
    """

    app: str | None = None
    broker: str | None = None
    ledger: str | None = None
    celery_app: Any = None
    command: str = "collectors"


def wanted_from(ctx: click.Context, *, app: str | None, broker: str | None, ledger: str | None) -> Wanted:
    """Put together our own options and, below ``celery``, those of ``celery -A X``."""
    name = ctx.find_root().params.get("app") if ctx.parent else None
    if not isinstance(name, str):
        command = "collectors" + _said(app=app, broker=broker, ledger=ledger)
        return Wanted(app=app, broker=broker, ledger=ledger, command=command)
    if app:
        raise Complaint("the app is given twice", hint="under celery, -A names it; leave --app out")
    return Wanted(
        app=name,
        broker=broker,
        ledger=ledger,
        celery_app=ctx.obj.app,
        command=f"celery -A {name} collectors" + _said(broker=broker, ledger=ledger),
    )


def _said(**options: str | None) -> str:
    """Options as they were typed, but for passwords: without its servers advice would lead to the embedded engine."""
    return "".join(f" --{name} {shlex.quote(masked(said))}" for name, said in options.items() if said)
