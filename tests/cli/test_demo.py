"""The README's first command, as it stands there; needs the ``.venv`` that scripts/test has made."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def demo(home: Path, *args: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "COLLECTORS_HOME": str(home)}
    command = [str(ROOT / "scripts" / "demo"), *args]
    return subprocess.Popen(command, env=env, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.heavy
def test_the_demo_twice_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.getbasetemp().parent / f"demo{os.getpid()}"
    both = [demo(home, "--json"), demo(home, "airport:LHR", "--json")]
    outputs = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    jfk, lhr = (json.loads(out) for out, _ in outputs)
    assert (jfk["topic"], lhr["topic"]) == ("airport:JFK", "airport:LHR")
    assert jfk["result"]["airports"][0]["disagreements"]["elevation_ft"]["outliers"] == ["airports-py"]
