"""``scripts/faults``: runs the fault tests, and makes ``docs/explanation/fault-matrix.md`` of their rows."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
import msgspec

from benchmarks.machine import machine, versions
from tests.faults.matrix import FILE, Row
from tests.servers.fixtures import CHOICE, SETUPS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "explanation" / "fault-matrix.md"
WORDS = ("once", "never", "twice", "wrong")
OURS = "ours"
RAW = ("raw chord", "raw chord, acks_late")
PROCESSES = "COLLECTORS_TEST_PROCESSES"
NO_TESTS = 5  # pytest's word for a choice that leaves nothing

HEAD = """\
# What came of every fault

Written by `scripts/faults`; do not edit. {made}

Each fault strikes requests in flight, on real servers and workers, with `kill -9` and the like. One was answered

- **once**: each stage was committed exactly once, with the items that were to be expected;
- **never**: not within the time that it had. Ours have their deadline and `finish_s`; a raw chord has {bound_s} s from
  the fault on, and {server_bound_s} s where a server was struck;
- **twice**: a stage was committed, or the request ended, more than once. A raw chord commits nothing: its last task ran
  more than once;
- **wrong**: with other items, or another report.

The time is that from the fault (the last, where several struck) to the last answer; of one run, on a machine that had
other work to do: trust its order of magnitude. `embedded` is Valkey as broker and ledger, `redis` is Redis as both,
`rabbitmq` is RabbitMQ with Redis as the ledger; append-only files are on. What we promise is in
[guarantees](guarantees.md)."""
BESIDE = """
## The same fault on Celery's own chord

The same three sources, gathering, cleanup and process, on the same servers, struck at the same moment. *raw chord* is
`celery.chord` as it comes, whose callback sends cleanup, which sends process; *acks_late* is that with `task_acks_late`
and `task_reject_on_worker_lost`; *ours* has one import changed, and its stages declared (`tests/faults/raw/`).
"""
ALL = """
## Ours, under every fault
"""


class Key(msgspec.Struct, frozen=True):
    """A cell of the matrix."""

    fault: str
    setup: str
    who: str


Cells = dict[Key, Row]


class Kept(msgspec.Struct, frozen=True):
    """A row, and the run that it is from."""

    run: float
    row: Row


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Without the cross product.")
@click.option("--setups", default=",".join(SETUPS), show_default=True, help="Which to run on.")
@click.option("-k", "expression", default="", help="Which tests, as pytest takes it.")
@click.option("--rows", type=click.Path(path_type=Path), help="Keep the rows here, and add to those that are here.")
def faults(quick: bool, setups: str, expression: str, rows: Path | None) -> None:
    """Run the fault tests, and write the matrix."""
    began_at = time.time()
    with tempfile.TemporaryDirectory(prefix="cc-faults-") as folder:
        new = Path(folder, "rows")
        failed = _run_tests(new, quick=quick, setups=setups, expression=expression)
        kept = Path(folder, "kept") if rows is None else rows
        _keep(new, kept, began_at)
        cells = cells_of(_read(kept))
    is_whole = not quick and not expression and setups == ",".join(SETUPS)
    _publish(document(cells), to_file=is_whole or rows is not None)
    for line in summary(cells):
        click.echo(line)
    took_min = (time.time() - began_at) / 60
    click.echo(f"{took_min:.0f} minutes; pytest {'failed' if failed else 'passed'}")
    sys.exit(1 if failed or any(not_once(cells)) else 0)


def _run_tests(rows: Path, *, quick: bool, setups: str, expression: str) -> bool:
    """Run them, their progress on standard output; whether one failed."""
    marked = "not matrix" if quick else "matrix or not matrix"
    command = [sys.executable, "-m", "pytest", "-v", "-m", marked, "tests/faults"]
    command += ["-n", os.environ.get(PROCESSES, "2"), "--dist", "worksteal"]  # most of a test's time it waits
    command += ["-k", expression] if expression else []
    done = subprocess.run(command, env=os.environ | {FILE: str(rows), CHOICE: setups}, cwd=ROOT, check=False)
    return done.returncode not in (0, NO_TESTS)


def _keep(new: Path, kept: Path, run: float) -> None:
    with kept.open("ab") as file:
        for line in new.read_bytes().splitlines() if new.exists() else ():
            file.write(msgspec.json.encode(Kept(run, msgspec.json.decode(line, type=Row))) + b"\n")


def _read(kept: Path) -> list[Kept]:
    return [msgspec.json.decode(line, type=Kept) for line in kept.read_bytes().splitlines()]


def cells_of(kept: Iterable[Kept]) -> Cells:
    """One row for each cell: its last run's, added up."""
    by_key: dict[Key, list[Kept]] = defaultdict(list)
    for one in kept:
        by_key[Key(one.row.fault, one.row.setup, one.row.who)].append(one)
    return {key: _added(found) for key, found in by_key.items()}


def _added(found: Sequence[Kept]) -> Row:
    last = max(one.run for one in found)
    rows = [one.row for one in found if one.run == last]
    took = [row.recovery_s for row in rows if row.recovery_s is not None]
    counts = {word: sum(getattr(row, word) for row in rows) for word in WORDS}
    return replace(rows[0], recovery_s=max(took, default=None), **counts)


def not_once(cells: Cells) -> Iterator[Row]:
    """Our rows in which a request was answered otherwise, or none was asked."""
    for row in cells.values():
        if row.who == OURS and (not row.once or row.never or row.twice or row.wrong):
            yield row


def summary(cells: Cells) -> Iterator[str]:
    """What a person wants to know at the end: counts, and each cell of ours that is not as it should be."""
    for who in (OURS, *RAW):
        rows = [asdict(row) for row in cells.values() if row.who == who]
        counts = {word: sum(row[word] for row in rows) for word in WORDS}
        said = ", ".join(f"{count} {word}" for word, count in counts.items())
        yield f"{who}: {len({row['fault'] for row in rows})} faults, {len(rows)} cells: {said}"
    for row in not_once(cells):
        yield f"NOT ONCE: {row.fault}, on {row.setup}: {in_cell(row)}"


def _publish(text: str, *, to_file: bool) -> None:
    if to_file:
        DOCUMENT.write_text(text)
        click.echo(f"written: {DOCUMENT.relative_to(ROOT)}")
    else:
        click.echo(text)


def document(cells: Cells) -> str:
    """The matrix, in Markdown."""
    from tests.faults.raw.contender import BOUND_S, SERVER_BOUND_S  # late: it wants a session's word

    lines = [HEAD.format(made=_made(), bound_s=round(BOUND_S), server_bound_s=round(SERVER_BOUND_S))]
    compared = [key for key in cells if key.who != OURS]
    if compared:
        lines += [BESIDE, *_table(("fault", "set-up", *RAW, OURS), _beside(cells))]
    if any(key.who == OURS for key in cells):
        lines += [ALL, *_table(("fault", *SETUPS), _all(cells))]
    return "\n".join(lines) + "\n"


def _made() -> str:
    said, known = machine(), versions()
    return f"{said['system']}, {said['cores']} cores, Python {known['python']}, Celery {known['celery']}."


def _beside(cells: Cells) -> Iterator[Sequence[str]]:
    for fault, setup in sorted({(key.fault, key.setup) for key in cells if key.who != OURS}):
        yield fault, setup, *(in_cell(cells.get(Key(fault, setup, who))) for who in (*RAW, OURS))


def _all(cells: Cells) -> Iterator[Sequence[str]]:
    for fault in sorted({key.fault for key in cells if key.who == OURS}):
        yield fault, *(in_cell(cells.get(Key(fault, setup, OURS))) for setup in SETUPS)


def in_cell(row: Row | None) -> str:
    """``4 never, 1 once``, and how long it took."""
    if row is None:
        return ""
    counts = ((getattr(row, word), word) for word in WORDS)
    said = ", ".join(f"{count} {word if word == 'once' else f'**{word}**'}" for count, word in counts if count)
    return said if row.recovery_s is None else f"{said}; {row.recovery_s:.1f} s"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    faults(prog_name="scripts/faults")
