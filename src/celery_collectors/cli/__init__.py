"""The command line: ``collectors``, and the same commands as ``celery -A app collectors``.

``group.py`` holds the command itself, a file each its subcommands. Data goes to stdout, everything else to
stderr. Nothing here imports Celery, redis-py or rich before it is needed: `collectors --help` should not wait
for them, and every ``celery`` command loads this package.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing's own would be most of the time before main() can catch a Ctrl-C
if TYPE_CHECKING:
    from typing import Any

    from celery_collectors.cli.group import collectors

__all__ = ["collectors", "main"]


def main() -> None:
    """Run ``collectors``; ends the process."""
    try:  # these imports are most of the time before anything can catch a Ctrl-C
        from celery_collectors.cli.group import main as run
    except KeyboardInterrupt:
        print("error: interrupted; nothing was asked", file=sys.stderr)  # noqa: T201 - as click would, were it here
        sys.exit(130)
    run()


def __getattr__(name: str) -> Any:
    if name != "collectors":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from celery_collectors.cli.group import collectors as command

    return command
