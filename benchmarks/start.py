"""``scripts/bench start``: from Enter to the answer with nothing running, and what importing the package takes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contender import TooSlow
from benchmarks.figures import medians
from benchmarks.journal import WrongWork
from benchmarks.report import Bars, Finding, Measured
from benchmarks.running import Benchmark
from benchmarks.turns import in_rounds

COLLECT = ("--app", "examples.airports", "collect", "airport:JFK", "--json")
LIMIT_S = 60
COLLECT_AIM_S, IMPORT_AIM_S = 2.0, 0.35
IMPORTS = {
    "nothing": "pass",
    "celery": "import celery",
    "celery_collectors": "import celery_collectors",
    "Celery": "from celery import Celery",  # both packages import lazily: these are what an app imports
    "Collectors": "from celery_collectors import Collectors",
}


class Program:
    """A program that is started anew for each of its turns."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._command = command

    def turn(self, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Run it; how long it took, how much CPU time, and what it said.

        Where Python is told to keep no compiled modules (PYTHONDONTWRITEBYTECODE), it would compile those of a clone
        each time: a quarter of what their import takes, and nothing that users have.
        """
        env = {name: value for name, value in (env or os.environ).items() if name != "PYTHONDONTWRITEBYTECODE"}
        before, began_at = _children_s(), time.monotonic()
        try:
            done = subprocess.run(self._command, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise TooSlow(f"{self.name} had not ended after {LIMIT_S} s") from error
        took_s = time.monotonic() - began_at
        if done.returncode:
            raise WrongWork(f"{self.name} ended with {done.returncode}: {done.stderr.strip()}")
        return {"took_s": took_s, "cpu_s": _children_s() - before, "said": done.stdout}


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(quick: bool, ends_at: float) -> Measured:
    """Start each of them several times, in turn."""
    imports = measure_imports(5 if quick else 15, ends_at=ends_at)
    asked = in_rounds([Program("collect", _collectors())], _collect, rounds=3 if quick else 10, ends_at=ends_at)
    middle = {name: medians(turns) for name, turns in imports.items()}
    collect_s = medians(asked["collect"])["took_s"]
    ours, app = middle["Collectors"], middle["Celery"]
    return Measured(
        findings=[
            Finding("collect, from Enter to the answer, engine off", collect_s, "s", COLLECT_AIM_S, at_most=True),
            _import_finding("celery_collectors", middle),
            Finding("a Python that does 'import celery'", middle["celery"]["took_s"], "s"),
            _import_finding("Collectors", middle),
            Finding("a Python that does 'from celery import Celery'", app["took_s"], "s"),
            Finding("a Python that imports nothing", middle["nothing"]["took_s"], "s"),
            Finding("CPU time of importing Collectors", ours["cpu_s"] / app["cpu_s"], "of Celery's"),
        ],
        details={"imports": imports, "collect": asked["collect"]},
        pictures=[
            Bars("Fresh interpreters", "s", {name: one["took_s"] for name, one in middle.items()}),
            Bars("From Enter to the answer, engine off", "s", {"collect": collect_s}),
        ],
        notes=["Files are in the system's cache: each was started before, as Python's are on a machine that is used"],
    )


def _import_finding(name: str, found: Mapping[str, Mapping[str, float]]) -> Finding:
    return Finding(f"a Python that does '{IMPORTS[name]}'", found[name]["took_s"], "s", IMPORT_AIM_S, at_most=True)


def measure_imports(rounds: int, *, ends_at: float) -> dict[str, list[Mapping[str, Any]]]:
    """What each import takes in an interpreter of its own, that included; one round before does not count."""
    programs = [Program(name, (sys.executable, "-c", code)) for name, code in IMPORTS.items()]
    for program in programs:
        program.turn()
    return in_rounds(programs, _import, rounds=rounds, ends_at=ends_at)


def _import(program: Program) -> dict[str, float]:
    found = program.turn()
    return {"took_s": found["took_s"], "cpu_s": found["cpu_s"]}


def _collectors() -> tuple[str, ...]:
    return (str(Path(sys.executable).with_name("collectors")), *COLLECT)


def _collect(program: Program) -> dict[str, float]:
    """Ask the example in a home of its own, so that no engine runs, and none is left."""
    with tempfile.TemporaryDirectory(prefix="cc-", ignore_cleanup_errors=True) as home:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("COLLECTORS_", "CELERY_"))}
        found = program.turn(ours | {"COLLECTORS_HOME": home})
    state = json.loads(found["said"])["state"]
    if state != "complete":
        raise WrongWork(f"collect ended {state}")
    return {"took_s": found["took_s"]}


START = Benchmark("start", "from Enter to the answer with nothing running, and what an import takes", measure)
