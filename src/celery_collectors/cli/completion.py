"""``collectors completion``: what a shell needs to complete these commands."""

from __future__ import annotations

import click

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.exit_codes import ExitCode


@click.command(short_help="Print what completes these commands in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str) -> None:
    """Print what completes these commands in SHELL: bash, zsh or fish.

    \b
    collectors completion bash >> ~/.bashrc
    collectors completion zsh >> ~/.zshrc
    collectors completion fish > ~/.config/fish/completions/collectors.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise Complaint(f"click can't complete in {shell}", hint="take bash, zsh or fish", code=ExitCode.FAILED)
    command = ctx.parent.command if ctx.parent else ctx.command
    try:
        click.echo(found(command, {}, "collectors", "_COLLECTORS_COMPLETE").source())
    except RuntimeError as error:  # click asks bash for its version
        raise Complaint(str(error), hint="use bash 4.4 or later", code=ExitCode.FAILED) from error
