"""The command line: ``collectors``, and the same commands as ``celery -A app collectors``.

``group.py`` holds the command itself, a file each its subcommands. Data goes to stdout, everything else to
stderr. Nothing here imports Celery, redis-py or rich before it is needed: `collectors --help` should not wait
for them, and every ``celery`` command loads this package.
"""

from celery_collectors.cli.group import collectors, main

__all__ = ["collectors", "main"]
