"""One frozen :class:`Settings`; the only reader of the environment, ``pyproject.toml`` and ``collectors.toml``.

What is said closest to the code wins: arguments of ``Collectors(app, …)``, then ``COLLECTORS_*``
variables, then ``collectors.toml``, then ``[tool.collectors]`` in ``pyproject.toml``, then the defaults.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec

from celery_collectors.errors import SettingsError

ENV_PREFIX = "COLLECTORS_"
THE_ENVIRONMENT = "the environment"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of this package, with the reason for its default.

    Times are in seconds and end in ``_s``.
    """

    app: str | None = None
    """Where the CLI finds the Celery app: ``package.module`` or ``package.module:attribute``."""
    broker: str | None = None
    """A broker URL for the CLI; unset, it starts the embedded engine."""
    ledger: str | None = None
    """The ledger's Redis/Valkey URL; unset, the result backend if that is Redis."""
    forced_ledger: str | None = None
    """The ledger whatever the code says; set by the embedded engine for its processes, and by ``--ledger``."""
    payloads: str | None = None
    """Where values lie that are too large for the ledger: ``file:///folder`` (which all workers share),
    ``s3://bucket/prefix?region=…``, or a ``redis://…`` of its own; unset, the ledger's Redis. Never with a secret."""
    forced_payloads: str | None = None
    """The same whatever the code says; set by the embedded engine for its processes, to a folder of its own."""
    home: str | None = None
    """The embedded engine's folder; unset, one per project under the user's state folder."""
    prefix: str = "collectors"
    """Every key starts with it, so that a ledger can share a Redis; by default it has the app's name behind it."""
    shards: int = 4
    """Hash tags over which requests are spread, so that a cluster can hold them; fixed once the ledger exists."""
    queue: str = "collectors.v1"
    """Our own queue, by default ``collectors.<app>.v1``; the version is that of its arguments, so that no queue
    that exists is redeclared."""
    queue_type: Literal["classic", "quorum"] = "classic"
    """On RabbitMQ: ``classic`` knows priorities; ``quorum`` is replicated, and knows none before RabbitMQ 4.3. Its
    queue has another name, because no queue can change its kind."""
    messages: Literal["auto", "each"] = "auto"
    """``auto`` sends as few as the work needs; ``each`` sends one message per run and stage."""
    deadline_s: float = 30.0
    """When collecting ends, if a request doesn't say."""
    finish_s: float = 60.0
    """How long the stages may take after the deadline."""
    timeout_s: float = 30.0
    """One attempt of a collector, if it doesn't say."""
    retries: int = 0
    """Further attempts after a failed one; none by default, because not every source may be asked twice."""
    stage_retries: int = 2
    """Further attempts of a stage: its input is safe in the ledger, so trying again costs little."""
    backoff_s: float = 1.0
    """The first pause before a retry; it doubles, with jitter."""
    backoff_cap_s: float = 60.0
    """The longest pause before a retry."""
    lease_s: float = 20.0
    """How long a process may be silent before what it runs is taken from it."""
    renew_s: float = 4.0
    """How often leases are renewed: four renewals may fail before a lease lapses."""
    sweep_s: float = 1.0
    """How often due work is looked for: deadlines are kept to about this precision."""
    backlog_s: float = 30.0
    """A published run counts as lost when its queue has moved past it, or its worker sat idle, for so long."""
    crash_cap: int = 3
    """A run that took its process down this often is ``lost``: a poison run must not go round for ever."""
    short_s: float = 0.02
    """A stage known to take less than this costs less than its message would."""
    message_s: float = 0.005
    """What a message costs all who have to do with it: runs known to take less share one."""
    pack_s: float = 0.05
    """How long runs that share a message are expected to take in all; what is more gets another, for another worker."""
    async_cap: int = 1000
    """Coroutines per process; more wait in the queue, where other workers can take them."""
    abandon_cap: int = 3
    """Hung threads that a process may leave behind before it is replaced; a threads worker, for each of its slots."""
    inline_bytes: int = 4096
    """Values up to this size stay in the ledger itself; larger ones go to the payload store."""
    run_max_items: int = 100_000_000
    run_max_bytes: int = 2 * 2**30
    """What one run may produce, encoded and not yet compressed: a source that never ends must not fill the disk."""
    request_max_items: int = 1_000_000_000
    request_max_bytes: int = 8 * 2**30
    """What all runs of a request may produce together, and a stage."""
    result_ttl_s: float = 7 * 24 * 3600.0
    """How long a finished request is kept."""
    topic_max_chars: int = 512
    """Topics ride in every message, so they are short."""

    def __post_init__(self) -> None:
        """Refuse what can't work, naming the setting."""
        for name in self.__struct_fields__:
            _check(name, getattr(self, name))
        if self.renew_s * 2 > self.lease_s:
            raise SettingsError("renew_s must be at most half of lease_s, or a single slow renewal loses a lease")

    @classmethod
    def load(
        cls,
        overrides: Mapping[str, Any] | None = None,
        *,
        app_name: str | None = None,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Settings:
        """Put the settings together from every place that may hold them.

        Args:
            overrides: What the code says; ``None`` values are ignored.
            app_name: The Celery app's own name, which keeps its queue and its keys apart from other apps'.
            env: The environment; by default the process's own.
            folder: Where ``pyproject.toml`` and ``collectors.toml`` are looked for; by default the current one.

        Raises:
            SettingsError: for an unknown name or a value that can't be used, naming the place.

        >>> Settings.load({"deadline_s": 5}, env={}).deadline_s
        5.0
        """
        merged: dict[str, Any] = {}
        for place, values in _said(overrides, app_name, env, folder):
            merged |= _checked(place, values)
        if merged.get("queue_type") == "quorum" and merged.get("queue") == _of_app(app_name).get("queue"):
            merged["queue"] = f"{merged.get('queue', 'collectors.v1')}.quorum"
        return msgspec.convert(merged, cls)

    @classmethod
    def places(
        cls, *, app_name: str | None = None, env: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> dict[str, str]:
        """Which place each setting comes from that somebody has set; takes what :meth:`load` takes.

        >>> Settings.places(env={"COLLECTORS_DEADLINE_S": "5"})["deadline_s"]
        'COLLECTORS_DEADLINE_S'
        """
        found: dict[str, str] = {}
        for place, values in _said(None, app_name, env, folder):
            in_env = place == THE_ENVIRONMENT
            found |= {name: ENV_PREFIX + name.upper() if in_env else place for name in values}
        return found


def _said(
    overrides: Mapping[str, Any] | None, app_name: str | None, env: Mapping[str, str] | None, folder: Path | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What each place says; a later one wins."""
    folder = Path.cwd() if folder is None else folder
    yield "the app's name", _of_app(app_name)
    yield "[tool.collectors] in pyproject.toml", _toml(folder / "pyproject.toml", "tool", "collectors")
    yield "collectors.toml", _toml(folder / "collectors.toml")
    yield THE_ENVIRONMENT, _from_env(os.environ if env is None else env)
    yield "Collectors(…)", {name: value for name, value in (overrides or {}).items() if value is not None}


_POSITIVE = (
    "shards", "deadline_s", "finish_s", "timeout_s", "backoff_s", "backoff_cap_s", "lease_s", "renew_s",
    "sweep_s", "backlog_s", "crash_cap", "short_s", "message_s", "pack_s", "async_cap", "abandon_cap", "result_ttl_s",
    "topic_max_chars", "run_max_items", "run_max_bytes", "request_max_items", "request_max_bytes",
)  # fmt: skip
_MOST = {"shards": 1000} | dict.fromkeys(
    ("run_max_items", "run_max_bytes", "request_max_items", "request_max_bytes"), 10**15
)
_MOST_OF_ALL = 1e9  # in seconds thirty years; times in milliseconds stay exact numbers in the ledger


def _check(name: str, value: Any) -> None:
    """Refuse a value that can't work, whatever the others are."""
    if name in _POSITIVE and not value > 0:
        raise SettingsError(f"{name} must be more than 0, not {value!r}")
    if isinstance(value, int | float) and not 0 <= value <= _MOST.get(name, _MOST_OF_ALL):
        raise SettingsError(f"{name} must be between 0 and {_MOST.get(name, _MOST_OF_ALL):,.0f}, not {value!r}")
    if name in ("payloads", "forced_payloads") and value is not None:
        payloads_scheme(value)
    if name == "prefix" and (not value or set(value) & set("{}") or not value.isprintable()):
        raise SettingsError(f"prefix must be a word without braces, not {value!r}: it begins every key of the ledger")


def redis_url(url: str) -> str:
    """A ledger URL as redis-py takes it; Celery's ``redis+socket://`` and ``valkey://`` forms are understood.

    >>> redis_url("redis+socket:///run/valkey.sock?virtual_host=1")
    'unix:///run/valkey.sock?db=1'
    """
    parts = urlsplit(url)
    scheme = parts.scheme.replace("valkeys", "rediss").replace("valkey", "redis")
    if scheme in ("redis+socket", "socket"):
        db = parse_qs(parts.query).get("virtual_host", ["0"])[0].strip("/")
        return f"unix://{parts.path}?db={db}"
    if scheme not in ("redis", "rediss", "unix"):
        raise SettingsError(
            "the ledger must be a Redis or Valkey URL (redis://, rediss://, unix://), and this one "
            + (f"begins with {parts.scheme}:" if parts.scheme else "has no scheme")
        )
    return scheme + url[len(parts.scheme) :]


def payloads_scheme(url: str) -> str:
    """What kind of place a payloads URL names: ``file``, ``s3``, ``memory`` or ``redis``.

    >>> payloads_scheme("file:///var/lib/payloads"), payloads_scheme("rediss://db.example/2")
    ('file', 'redis')
    """
    parts = urlsplit(url)
    if is_redis_url(url):
        return "redis"
    if parts.scheme == "file" and (parts.netloc or not parts.path.strip("/")):
        raise SettingsError("payloads must name a folder from the root, like file:///var/lib/payloads")
    if parts.scheme == "s3" and not parts.netloc:
        raise SettingsError("payloads must name a bucket, like s3://bucket/prefix")
    if parts.scheme in ("file", "s3", "memory"):
        return parts.scheme
    raise SettingsError(
        "payloads must be a URL that begins with file:, s3:, memory:, redis:, rediss: or unix:, and this one "
        + (f"begins with {parts.scheme}:" if parts.scheme else "has no scheme")
    )


def public_url(url: str) -> str:
    """A ledger's URL for messages to people: who may enter, and with what password, is left out.

    >>> public_url("rediss://me:secret@db.example:6380/2?password=secret")
    'rediss://db.example:6380/2'
    """
    parts = urlsplit(redis_url(url))
    db = parse_qs(parts.query).get("db", [""])[0]
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}" + (f"?db={db}" if db else "")


def is_redis_url(url: str | None) -> bool:
    """Whether a URL names a Redis-protocol server."""
    scheme = urlsplit(url or "").scheme.split("+")[0]
    return scheme in ("redis", "rediss", "valkey", "valkeys", "unix", "socket")


def _of_app(name: str | None) -> dict[str, Any]:
    """Two apps on one broker must not take each other's messages: neither knows the other's tasks."""
    if not name or name == "__main__":
        return {}
    word = re.sub(r"[^\w.-]", "-", name)
    return {"prefix": f"collectors:{word}", "queue": f"collectors.{word}.v1"}


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    names = {ENV_PREFIX + name.upper(): name for name in Settings.__struct_fields__}
    return {names[key]: value for key, value in env.items() if key in names and value != ""}


def _toml(path: Path, *keys: str) -> dict[str, Any]:
    try:
        found: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name} can't be read: {error}") from error
    for key in keys:
        found = found.get(key, {})
        if not isinstance(found, dict):
            raise SettingsError(f"{path.name}: {'.'.join(keys)} must be a table, not {found!r}")
    return dict(found)


def _checked(place: str, values: Mapping[str, Any]) -> dict[str, Any]:
    types = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    checked = {}
    for name, value in values.items():
        if name not in types:
            raise SettingsError(f"{place}: there is no setting {name!r}; there are {', '.join(types)}")
        try:
            checked[name] = msgspec.convert(value, types[name], strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{place}: {name}={value!r}: {error}") from error
        try:
            _check(name, checked[name])
        except SettingsError as error:
            raise SettingsError(f"{place}: {error}") from None
    return checked
