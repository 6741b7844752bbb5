"""``python -m benchmarks NAME``: one subcommand per measurement, each in a file of its own."""

from __future__ import annotations

import click

from benchmarks.chord import chord


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def bench() -> None:
    """Measure celery-collectors beside what one would use without it."""


bench.add_command(chord)

if __name__ == "__main__":
    bench(prog_name="scripts/bench")
