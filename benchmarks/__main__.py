"""``python -m benchmarks [NAME]``: one subcommand per measurement, each in a file of its own; without a name, all."""

from __future__ import annotations

import click

from benchmarks.beside import PEERS_BENCH
from benchmarks.chord import CHORD
from benchmarks.growth import GROWTH
from benchmarks.memory import LEDGER
from benchmarks.payload import PAYLOAD
from benchmarks.running import commands
from benchmarks.start import START
from benchmarks.waits import ASYNC
from benchmarks.wide import WIDE

ALL = (CHORD, PEERS_BENCH, WIDE, ASYNC, PAYLOAD, LEDGER, GROWTH, START)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def bench() -> None:
    """Measure celery-collectors beside what one would use without it."""


for command in commands(ALL):
    bench.add_command(command)

if __name__ == "__main__":
    bench(prog_name="scripts/bench")
