"""What came of the requests that a fault struck: each answered once, never, twice or wrongly; a row of the matrix."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import msgspec

from celery_collectors import Report, Request
from celery_collectors.errors import WaitTimeout
from celery_collectors.events import Event
from celery_collectors.model import REQUEST_ENDED

FILE = (
    "COLLECTORS_FAULT_ROWS"  # where rows are written, one JSON object a line; scripts/faults makes a document of them
)
Verdict = Literal["once", "never", "twice", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A cell of the matrix.

    Attributes:
        fault: What struck, in words that stand alone.
        setup: Where: ``embedded``, ``redis`` or ``rabbitmq``.
        who: ``ours``, or the settings of a raw chord.
        once, never, twice, wrong: How many requests were answered so.
        recovery_s: From the fault to the last answer, in seconds, where that says anything.
    """

    fault: str
    setup: str
    who: str = "ours"
    once: int = 0
    never: int = 0
    twice: int = 0
    wrong: int = 0
    recovery_s: float | None = None


def judge(request: Request, is_right: Callable[[Report], bool], *, within_s: float | None = None) -> Verdict:
    """Wait for a request's end, and say how it was answered.

    Args:
        request: One whose stages are the app's own.
        is_right: Whether its report is the one that was to be expected.
        within_s: Seconds to wait; by default until its deadline and ``finish_s`` are over.
    """
    try:
        report = request.wait(within_s)
    except WaitTimeout:
        return "never"
    if max(commits(request).values(), default=0) > 1:
        return "twice"
    return "once" if is_right(report) else "wrong"


def commits(request: Request) -> Counter[tuple[int, str]]:
    """How often each stage's output was committed, by generation and name, and how often each generation ended."""
    found: Counter[tuple[int, str]] = Counter()
    generation = 0
    for event in _stream(request):
        if event.subject == "request":
            generation += event.state == "collecting"
            found[generation, "end"] += event.state in REQUEST_ENDED
        elif event.subject == "stage":
            found[generation, event.name] += event.state == "ok"
    return found


def _stream(request: Request) -> Iterator[Event]:
    """All events there are; ``request.events()`` ends with the request, and would hide what came after that."""
    after = "0"
    while found := request._client.reader.events(request.id, after):
        yield from found
        after = found[-1].id


class Matrix:
    """Takes the rows, prints them, and keeps them where the environment names a file."""

    def __init__(self, setup: str) -> None:
        self._setup = setup

    def add(self, fault: str, verdicts: Sequence[Verdict], *, recovery_s: float | None = None) -> Row:
        """Record how the requests that a fault struck were answered."""
        counted = Counter(verdicts)
        row = Row(fault=fault, setup=self._setup, recovery_s=recovery_s, **{str(k): n for k, n in counted.items()})
        print(row)
        write(row)
        return row

    def check(self, fault: str, verdicts: Sequence[Verdict], *, recovery_s: float | None = None) -> None:
        """Record, and fail unless each was answered exactly once, with the right items."""
        self.add(fault, verdicts, recovery_s=recovery_s)
        assert Counter(verdicts) == {"once": len(verdicts)}, f"{fault} on {self._setup}: {Counter(verdicts)}"


def write(row: Row) -> None:
    """Append a row to the file that the environment names, if it names one."""
    if where := os.environ.get(FILE):
        with Path(where).open("ab") as rows:
            rows.write(msgspec.json.encode(asdict(row)) + b"\n")
