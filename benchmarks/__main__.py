"""``python -m benchmarks [NAME]``: one subcommand per measurement, each in a file of its own; without a name, all."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks import recorded
from benchmarks.beside import PEERS_BENCH
from benchmarks.chord import CHORD
from benchmarks.growth import GROWTH
from benchmarks.memory import LEDGER
from benchmarks.payload import PAYLOAD
from benchmarks.running import OUT, commands, run
from benchmarks.scratch import scratch
from benchmarks.start import START
from benchmarks.waits import ASYNC
from benchmarks.wide import WIDE

ALL = (CHORD, PEERS_BENCH, WIDE, ASYNC, PAYLOAD, LEDGER, GROWTH, START)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="A fraction of the load: under two minutes each, and rough.")
@click.option("--json", "as_json", is_flag=True, help="One object on standard output, with all that was measured.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True, help="Where results go.")
@click.option(
    "--check", is_flag=True, help="With --quick: only ratios, and fail if one is below 0.8 x what is recorded."
)
@click.option("--record", is_flag=True, help="With --quick: record those ratios in the repository.")
@click.pass_context
def bench(context: click.Context, *, quick: bool, as_json: bool, out: Path, check: bool, record: bool) -> None:
    """Measure celery-collectors beside what one would use without it: all of it, or what a COMMAND names."""
    if context.invoked_subcommand is not None:
        if quick or as_json or check or record or out != OUT:
            raise click.UsageError(f"write options behind the name: {context.invoked_subcommand} --quick")
        return
    if (check or record) and not quick:
        raise click.UsageError("--check and --record go with --quick")
    if record:
        recorded.record()
    elif check:
        recorded.check(as_json=as_json)
    else:
        _all(quick, as_json, out)


def _all(quick: bool, as_json: bool, out: Path) -> None:
    """One after another; one that fails does not stop the others."""
    reports, failed = {}, []
    for one in ALL:
        try:
            reports[one.name] = run(one, quick=quick, as_json=as_json, out=out)
        except click.ClickException as error:
            error.show()
            failed.append(one.name)
    if as_json:
        click.echo(json.dumps(reports))
    if failed:
        raise click.ClickException(f"not measured: {', '.join(failed)}")


for command in commands(ALL):
    bench.add_command(command)

if __name__ == "__main__":
    with scratch():
        bench(prog_name="scripts/bench")
