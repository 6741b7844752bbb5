"""Where this program was begun.

Taken before Celery's ``--workdir`` goes elsewhere: its command line loads ours before it is read.
"""

from contextlib import suppress
from pathlib import Path

FOLDER = Path()
with suppress(OSError):  # it may have been removed
    FOLDER = Path.cwd()
