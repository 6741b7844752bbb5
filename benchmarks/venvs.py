"""An environment of its own for each peer, made once and kept in a cache folder until what it should have changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parent / "peers"
INSTALL_S = 300
FINISHED = ".finished"


class NotInstalled(Exception):
    """A peer can't be had here; the message says why."""


def python_of(peer: str) -> str:
    """The Python of a peer's environment, which is made if there is none that is whole and of today's versions.

    Raises:
        NotInstalled: when that fails, with the last that pip said.
    """
    folder = cache_folder() / f"{peer}-{_stamp(peer)}"
    if not (folder / FINISHED).exists():
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder, PINS / f"{peer}.txt")
        (folder / FINISHED).touch()
    return str(folder / "bin" / "python")


def cache_folder() -> Path:
    """Where environments are kept; it can be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "celery-collectors-bench"


def version_of(peer: str, distribution: str) -> str:
    """The version that is pinned."""
    for line in (PINS / f"{peer}.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        if name == distribution:
            return version
    raise KeyError(f"{peer}.txt names no {distribution}")


def _stamp(peer: str) -> str:
    wanted = (PINS / f"{peer}.txt").read_bytes() + sys.version.encode()
    return hashlib.sha256(wanted).hexdigest()[:12]


def _make(folder: Path, pins: Path) -> None:
    _run(sys.executable, "-m", "venv", str(folder))
    _run(str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "-r", str(pins))


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"installing took longer than {INSTALL_S} s") from error
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise NotInstalled(said[-1] if said else str(error)) from error
