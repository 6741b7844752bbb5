"""Where this program was begun.

Taken before Celery's ``--workdir`` goes elsewhere: its command line loads ours before it is read.
"""

import os
from contextlib import suppress

FOLDER = "."
with suppress(OSError):  # it may have been removed
    FOLDER = os.getcwd()
