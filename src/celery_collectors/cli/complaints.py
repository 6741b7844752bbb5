"""Every error as one line on stderr that says what to do next, and the right exit status."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from celery_collectors.cli.exit_codes import ExitCode, of_error
from celery_collectors.cli.helping import Context
from celery_collectors.cli.text import printable
from celery_collectors.errors import CollectorsError, RequestUnknown

_OPTIONS_OF_THE_GROUP = ("--app", "-A", "--broker", "--ledger", "--debug", "--version")


class Complaint(click.ClickException):
    """Something that the person at the terminal can mend.

    Args:
        message: What is wrong.
        hint: What to do next.
        code: The exit status.
    """

    def __init__(self, message: str, *, hint: str | None = None, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


class Group(click.Group):
    """A click group whose errors all look alike, also as a part of ``celery``'s own command."""

    context_class = Context

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a subcommand, whose help fits the terminal, too."""
        cmd.context_class = Context
        super().add_command(cmd, name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the group's own options; without any argument, help is what was meant."""
        with one_line_errors(ctx):
            if not args and not ctx.resilient_parsing:
                click.echo(ctx.get_help())
                ctx.exit()
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Read the subcommand's options, then run it."""
        with one_line_errors(ctx):
            return super().invoke(ctx)


@contextmanager
def one_line_errors(ctx: click.Context) -> Iterator[None]:
    """Turn every error into a line and an exit status; with ``--debug`` into its traceback as well."""
    try:
        yield
    except click.exceptions.Exit:
        raise
    except BrokenPipeError:
        _leave_the_pipe()
    except (KeyboardInterrupt, click.Abort):
        asks = ctx.invoked_subcommand in ("collect", "retry")  # others may have done something already
        _end(ctx, "interrupted; nothing was asked" if asks else "interrupted", None, ExitCode.INTERRUPTED)
    except click.ClickException as error:
        _end(ctx, error.format_message(), _hint(error), getattr(error, "code", ExitCode.USAGE))
    except CollectorsError as error:
        _end(ctx, str(error), _what_there_is(error), of_error(error))
    except Exception as error:  # noqa: BLE001 - the outermost boundary: nobody should meet a traceback unasked
        _end(ctx, *_unforeseen(error))


def _end(ctx: click.Context, message: str, hint: str | None, code: ExitCode) -> NoReturn:
    try:
        if wants_traceback(ctx):
            traceback.print_exc()
        click.echo(f"error: {printable(message)}", err=True)
        if hint:
            click.echo(f"hint: {printable(hint)}", err=True)
    except BrokenPipeError:
        _leave_the_pipe()
    sys.exit(int(code))


def wants_traceback(ctx: click.Context) -> bool:
    """Whether ``--debug`` or COLLECTORS_DEBUG is set."""
    return bool(ctx.params.get("debug")) or os.environ.get("COLLECTORS_DEBUG", "") not in ("", "0")


def _hint(error: click.ClickException) -> str | None:
    if isinstance(error, Complaint):
        return error.hint
    if isinstance(error, click.NoSuchOption) and error.option_name in _OPTIONS_OF_THE_GROUP:
        return f"{error.option_name} comes before the command: collectors {error.option_name} … collect …"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        if isinstance(error, click.NoSuchOption) and isinstance(error.ctx.command, click.Group):
            return f"what is a command's comes after it: {error.ctx.command_path} … {error.option_name}"
        return f"'{error.ctx.command_path} --help' shows how it is used"
    return None


def _what_there_is(error: CollectorsError) -> str | None:
    return "'requests list' shows those that it holds" if isinstance(error, RequestUnknown) else None


def _unforeseen(error: Exception) -> tuple[str, str | None, ExitCode]:
    name = type(error).__name__
    if isinstance(error, FileNotFoundError) and not _here().exists():
        return "the current folder is not there any more", "change to one that is: cd", ExitCode.USAGE
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"no room is left: {error}", "send it where there is room", ExitCode.FAILED
    if _is_of_a_connection(error):
        what = "refuses us" if "redis.exceptions.ResponseError" in _names(error) else "can't be reached"
        return (
            f"a server {what}: {name}: {error}",
            "'collectors doctor' looks for the cause",
            ExitCode.UNREACHABLE,
        )
    return (
        f"{name}: {error} ({where(error)})",
        "--debug before the command shows the traceback",
        ExitCode.FAILED,
    )


def _is_of_a_connection(error: Exception) -> bool:
    """By name, so that finding out needs no library which the command didn't need."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    theirs = {"redis.exceptions.RedisError", "kombu.exceptions.OperationalError", "socket.gaierror"}
    return not theirs.isdisjoint(_names(error))


def _names(error: Exception) -> set[str]:
    return {f"{type_.__module__}.{type_.__name__}" for type_ in type(error).__mro__}


def where(error: BaseException, project: Path | None = None) -> str:
    """The file and line at which an error arose: the innermost of the project's own, if there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    project = project or _here()
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(project)] or frames
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename, project)}, line {error.lineno}"
    return f"{_short(own[-1].filename, project)}, line {own[-1].lineno}" if own else "nowhere"


def _here() -> Path:
    """The current folder, also when it has been removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(os.environ.get("PWD", "/"))


def _short(filename: str, project: Path) -> str:
    path = Path(filename)
    return str(path.relative_to(project) if path.is_relative_to(project) else path)


def _leave_the_pipe() -> NoReturn:
    """Nobody reads any more; and the interpreter must not stumble over that while it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            os.dup2(nowhere, stream.fileno())
    sys.exit(int(ExitCode.CLOSED_PIPE))
