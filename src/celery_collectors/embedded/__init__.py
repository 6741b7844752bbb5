"""The embedded engine: a Valkey server and a Celery worker that live exactly as long as somebody uses them.

Public names: :func:`use` and :func:`detach` for a client, :func:`provided` for one who runs workers of its own,
:func:`status` and :func:`await_end` for whoever looks, and :func:`default_home` for where an engine lives unless the
project says otherwise.

``engine.py`` is the client's side. ``supervisor.py`` is the process that owns everything else; how the two
never miss each other is told in its docstring.
"""

from celery_collectors.embedded.engine import Addresses, await_end, detach, provided, status, use
from celery_collectors.embedded.home import Home, default_home
from celery_collectors.embedded.state import EngineStatus
from celery_collectors.embedded.worker_process import default_concurrency

__all__ = [
    "Addresses",
    "EngineStatus",
    "Home",
    "await_end",
    "default_concurrency",
    "default_home",
    "detach",
    "provided",
    "status",
    "use",
]
