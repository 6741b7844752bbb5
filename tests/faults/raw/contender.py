"""Who gathers: Celery's own chord, as it comes and with late acknowledgement, and ours; each with its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from amqp.exceptions import NotFound
from celery import Celery

from celery_collectors import Collectors
from tests.faults.matrix import Row, Verdict, judge, write
from tests.faults.raw import sources
from tests.integration.apps import make_app, on_the_broker
from tests.integration.conftest import ROOT, until
from tests.integration.duplicates import doubled
from tests.integration.setups import SetUp

BOUND_S = 60.0  # from the fault on; what has not been answered by then never is
SERVER_BOUND_S = 120.0  # the same where a server was struck; ours promises 90 s for what a worker had only reserved
QUIET_S = 2.0  # after the answer: for what comes twice


class Kind(NamedTuple):
    """A contender's name in the matrix, its app, and what its environment says."""

    who: str
    module: str
    env: dict[str, str]


KINDS = (
    Kind("raw chord", "tests.faults.raw.celerys", {}),
    Kind("raw chord, acks_late", "tests.faults.raw.celerys", {"FAULTS_ACKS_LATE": "1"}),
    Kind("ours", "tests.faults.raw.ours", {}),
)


@dataclass(kw_only=True)
class Asked:
    """A request, and what its answer is to be.

    Attributes:
        id: Its id.
        names: The sources whose items are expected.
    """

    id: str
    names: Sequence[str]

    def is_answered_by(self, items: Sequence[str]) -> bool:
        return list(items) == sorted(f"{name} {self.id}" for name in self.names)


class Contender:
    """One kind on servers that others use, too.

    Args:
        kind: Which.
        setup: The servers.
        notes: A folder of its own, for what its functions note.
    """

    def __init__(self, kind: Kind, setup: SetUp, notes: Path) -> None:
        self.kind, self.setup, self.notes = kind, setup, notes
        notes.mkdir()
        self.name = f"faults-{KINDS.index(kind)}-{uuid.uuid4().hex[:6]}"
        self.queue = f"celery.{make_app(self.name).main}"
        self.then = f"collectors.{make_app(self.name).main}.v1" if self.is_ours else f"{self.queue}.then"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.asked: list[Asked] = []
        self.deadline_s = SERVER_BOUND_S  # of ours; a raw chord has none

    @property
    def is_ours(self) -> bool:
        return self.kind.who == "ours"

    def app(self) -> Celery:
        """An app that only sends."""
        app = make_app(self.name)
        app.conf.update(broker_url=self.setup.broker_url, task_default_queue=self.queue)
        return app

    # Workers and requests ---------------------------------------------------------------------------

    def worker(self, concurrency: int = 6, *args: str) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it is ready."""
        log = self.notes / f"{len(self.workers)}.log"
        command = [sys.executable, "-m", "celery", "-A", self.kind.module, "worker", "-n", f"{uuid.uuid4()}@test"]
        command += ["-P", "prefork", "-c", str(concurrency), "-l", "INFO", *(args or self._queues())]
        with log.open("wb") as output:
            worker = subprocess.Popen(command, env=self._env(), cwd=ROOT, stdout=output, stderr=output)
        self.workers.append(worker)
        until(lambda: " ready." in log.read_text() or worker.poll() is not None, f"{self.kind.who} is ready", 60)
        assert worker.poll() is None, log.read_text()
        return worker

    def _queues(self) -> list[str]:
        return [] if self.is_ours else ["-Q", f"{self.queue},{self.then}"]

    def _env(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.kind.env,
            "CELERY_BROKER_URL": self.setup.broker_url,
            "CELERY_RESULT_BACKEND": self.setup.backend_url,
            "COLLECTORS_LEDGER": self.setup.ledger_url,
            "COLLECTORS_MESSAGES": "each",  # as many messages as the raw ones send, so that each can be struck
            "FAULTS_APP": self.name,
            "FAULTS_DEADLINE_S": str(self.deadline_s),
            "FAULTS_NOTES": str(self.notes),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        }

    def ask(self, how: str, count: int, *, names: Sequence[str] = sources.NAMES) -> None:
        """Start requests, each by a message of the task ``ask``."""
        with self.app() as app:
            for _ in range(count):
                asked = Asked(id=str(uuid.uuid4()), names=names)
                app.send_task("ask", (asked.id, how), queue=self.queue)
                self.asked.append(asked)

    def kill(self) -> None:
        """Kill -9 the whole worker, as a power cut would."""
        (worker := self.workers[-1]).send_signal(signal.SIGKILL)
        assert worker.wait(10) == -signal.SIGKILL

    def waiting(self, queue: str) -> int:
        """How many messages lie in a queue."""
        with self.app().connection_for_write() as connection:
            channel = connection.default_channel
            if connection.transport.driver_type != "amqp":
                return int(channel._size(queue))
            try:
                return int(channel.queue_declare(queue, passive=True).message_count)
            except NotFound:
                return 0

    def double(self, queue: str) -> int:
        """Put a copy of every message that waits in a queue behind it; how many there are then."""
        with self.app().connection_for_write() as connection:
            return doubled(connection, queue)

    def logs(self) -> str:
        """All its workers' logs."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.notes.glob("*.log")))

    def noted(self, word: str) -> list[Any]:
        return sources.noted(self.notes, word)

    # What came of it --------------------------------------------------------------------------------

    def answers(self) -> Counter[str]:
        """How often each request's last stage ran."""
        return Counter(request_id for _, request_id, _ in self.noted("answers"))

    def all_answered(self) -> bool:
        return len(self.answers()) == len(self.asked)

    def verdicts(self) -> list[Verdict]:
        """Of ours what was committed counts; Celery commits nothing, so every run of the last stage counts."""
        return [self._committed(asked) if self.is_ours else self._ran(asked) for asked in self.asked]

    def _ran(self, asked: Asked) -> Verdict:
        found = [items for _, request_id, items in self.noted("answers") if request_id == asked.id]
        if len(found) != 1:
            return "twice" if found else "never"
        return "once" if asked.is_answered_by(found[0]) else "wrong"

    def _committed(self, asked: Asked) -> Verdict:
        if not self.answers()[asked.id]:
            return "never"
        reader = Collectors(make_app(self.name), ledger=self.setup.ledger_url)
        return judge(
            reader.get(asked.id), lambda report: asked.is_answered_by((report.result or {})["items"]), within_s=5
        )

    def stop(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait(10)

    def forget(self) -> None:
        """Leave nothing on servers that others use."""
        with self.app().connection_for_write() as connection:
            if connection.transport.driver_type != "amqp":
                return  # the set-up's fixture empties these
            queues, exchanges = on_the_broker(self.name)
            for name in (*queues, f"{self.queue}.then"):
                connection.default_channel.queue_delete(name)
            for name in (*exchanges, f"{self.queue}.then"):
                connection.default_channel.exchange_delete(name)


def record(
    fault: str, contenders: Sequence[Contender], *, struck: str | float | None, bound_s: float = BOUND_S
) -> dict[str, Counter[Verdict]]:
    """Wait until all are answered, or the bound is reached, and write a row of the matrix for each contender.

    Args:
        fault: The matrix's words for it.
        contenders: Whose requests it struck.
        struck: When, in seconds since the epoch; or the word that a contender noted when it was struck; ``None`` if
            the time since then says nothing.
        bound_s: How long, in seconds from now, an answer is waited for.
    """
    ends_at = time.monotonic() + bound_s
    while time.monotonic() < ends_at and not all(one.all_answered() for one in contenders):
        time.sleep(0.05)
    time.sleep(QUIET_S)
    return {one.kind.who: _row(fault, one, struck) for one in contenders}


def _row(fault: str, contender: Contender, struck: str | float | None) -> Counter[Verdict]:
    counted = Counter(contender.verdicts())
    row = Row(
        fault=fault,
        setup=contender.setup.name,
        who=contender.kind.who,
        recovery_s=_took_s(contender, struck) if struck is not None and contender.all_answered() else None,
        **{str(verdict): count for verdict, count in counted.items()},
    )
    print(row)
    write(row)
    return counted


def _took_s(contender: Contender, struck: str | float | None) -> float:
    """From the fault, or the last of several, to the last request's first answer."""
    first: dict[str, float] = {}
    for at, request_id, _ in contender.noted("answers"):
        first.setdefault(request_id, at)
    struck_at = struck if isinstance(struck, float) else max(at for at, *_ in contender.noted(struck))
    return round(max(first.values()) - struck_at, 1)
