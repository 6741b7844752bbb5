"""``scripts/bench ledger``: what a finished request leaves in Redis, and what each verb costs the server."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from statistics import fmean
from typing import Any

from redis import Redis
from rich.table import Table

from benchmarks.contender import Contender, celery_flow, running
from benchmarks.report import Bars, Finding, Measured, number
from benchmarks.running import Benchmark
from benchmarks.turns import folder_and_servers
from celery_collectors.ledger.scripts import source

OURS = "benchmarks.flows.declared"
WARM_UP = 20
AIM_KB = 6.0
KB = 1000
AT_ONCE = 1000
FROM_A_SCRIPT = b"?:0"  # whose time is in the script's
SLOWLOG = {"slowlog-log-slower-than": "0", "slowlog-max-len": "1000000"}


def measure(quick: bool, ends_at: float) -> Measured:
    """Let requests of three runs end; look at what they left, and at what the server did for them."""
    requests, watched = (200, 100) if quick else (1000, 300)
    with folder_and_servers(1) as (folder, both):
        flow = celery_flow("ours", OURS)
        with running(flow, both, number=0, folder=folder) as ours, Redis.from_url(both.database(0)) as client:
            ours.burst("client", WARM_UP, ends_at=ends_at)
            left = bytes_left(ours, client, requests, ends_at)
            verbs = server_us(ours, client, watched, ends_at)
        versions = both.versions()
    server_ms = sum(verb["us_each_request"] for verb in verbs.values()) / 1000
    return Measured(
        findings=[
            Finding("memory of a finished request of 3 runs", sum(left.values()) / KB, "KB", AIM_KB, at_most=True),
            Finding("Redis's time for a request", server_ms, "ms"),
            Finding("Redis's calls for a request", sum(verb["calls_each_request"] for verb in verbs.values()), "calls"),
        ],
        details={"requests": requests, "bytes_by_kind": left, "verbs": verbs},
        pictures=[
            Bars("Memory of a finished request", "bytes", left),
            Bars("Redis's time for a request", "µs", {name: verb["us_each_request"] for name, verb in verbs.items()}),
        ],
        tables=[_verbs_table(verbs)],
        notes=["Redis's times are from its log of commands; to log every one makes a call dearer, by about a quarter"],
        versions=versions,
    )


def bytes_left(ours: Contender, client: Any, requests: int, ends_at: float) -> dict[str, float]:
    """By kind of key, the bytes that each of so many requests left."""
    before = memory_by_kind(client)
    ours.burst("client", requests, ends_at=ends_at)
    return less(memory_by_kind(client), before, requests)


def less(after: Mapping[str, float], before: Mapping[str, float], requests: int) -> dict[str, float]:
    """What was added, for each request; the largest first, and what is the same for all left out."""
    added = {kind: (size - before.get(kind, 0)) / requests for kind, size in after.items()}
    return {kind: size for kind, size in sorted(added.items(), key=lambda one: -one[1]) if size > 0}


def memory_by_kind(client: Any) -> dict[str, float]:
    """The bytes that the server says its keys take, by kind."""
    found: dict[str, float] = defaultdict(float)
    for keys in _chunks(client.scan_iter(count=AT_ONCE)):
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.memory_usage(key, samples=0)
        for key, size in zip(keys, pipe.execute(), strict=True):
            found[kind_of(key.decode())] += size or 0
    return dict(found)


def kind_of(key: str) -> str:
    """What a key of the ledger holds.

    >>> kind_of("collectors:bench:{3}:events:0b71…"), kind_of("collectors:bench:{3}:due"), kind_of("celery-task-meta-1")
    ('events', 'due', 'other')
    """
    _prefix, brace, rest = key.partition("}:")
    return rest.split(":")[0] if brace else "other"


def _chunks(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for key in keys:
        chunk.append(key)
        if len(chunk) == AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def server_us(ours: Contender, client: Any, requests: int, ends_at: float) -> dict[str, dict[str, float]]:
    """By verb, how often the server ran it for each request, and its time in microseconds for each call and request."""
    with _everything_logged(client):
        ours.burst("client", requests, ends_at=ends_at)
        log = client.slowlog_get(int(SLOWLOG["slowlog-max-len"]))
    return by_verb(log, script_names(), requests)


@contextmanager
def _everything_logged(client: Any) -> Iterator[None]:
    """Redis's log of slow commands has every command, and how long it took."""
    before = {name: client.config_get(name)[name] for name in SLOWLOG}
    for name, value in SLOWLOG.items():
        client.config_set(name, value)
    client.slowlog_reset()
    try:
        yield
    finally:
        for name, value in before.items():
            client.config_set(name, value)
        client.slowlog_reset()


def script_names() -> dict[str, str]:
    """By the name under which the server knows it, each script of the ledger."""
    found = {}
    for file in files("celery_collectors.ledger").iterdir():
        name, dot, _suffix = file.name.partition(".lua")
        if dot:
            found[hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()] = name
    return found


def by_verb(log: Sequence[Mapping[str, Any]], scripts: Mapping[str, str], requests: int) -> dict[str, dict[str, float]]:
    """A server's log as figures for each verb, the dearest first; a command that is no script goes by its own name."""
    times: dict[str, list[int]] = defaultdict(list)
    for entry in log:
        if entry["client_address"] != FROM_A_SCRIPT:
            times[verb_of(entry["command"], scripts)].append(entry["duration"])
    dearest = sorted(times.items(), key=lambda one: -sum(one[1]))
    return {
        name: {
            "us_each_call": fmean(took),
            "calls_each_request": len(took) / requests,
            "us_each_request": sum(took) / requests,
        }
        for name, took in dearest
    }


def verb_of(command: bytes, scripts: Mapping[str, str]) -> str:
    """The ledger's verb that a command is.

    >>> verb_of(b"EVALSHA c0ffee 1 collectors:{0} {}", {"c0ffee": "settle"}), verb_of(b"PUBLISH a b", {})
    ('settle', 'PUBLISH')
    """
    name, *rest = command.decode(errors="replace").split(" ", 2)
    return scripts.get(rest[0], name) if rest and name.upper().startswith("EVAL") else name.upper()


def _verbs_table(verbs: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(title="What Redis does for a request of 3 runs", title_justify="left")
    table.add_column("verb")
    for title in ("calls", "µs each", "µs in all"):
        table.add_column(title, justify="right")
    for name, one in verbs.items():
        cells = (one["calls_each_request"], one["us_each_call"], one["us_each_request"])
        table.add_row(name, *(number(cell) for cell in cells))
    return table


LEDGER = Benchmark("ledger", "what a finished request leaves in Redis, and what each verb costs there", measure)
