"""How ``scripts/servers.sh`` sees to a server that isn't there; with a PATH on which little is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROVIDE = """
set -euo pipefail
source scripts/venv.sh
source scripts/servers.sh
provide_servers
echo "redis=$COLLECTORS_TEST_REDIS_URL"
"""
NO_ENGINE = "exit 1"
ENGINE = 'case $1 in run) echo c0ffee ;; port) echo 127.0.0.1:49153 ;; kill) echo "killed $2" >&2 ;; esac'


class Machine:
    """A machine with few programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bash", "paste", "head", "sleep"):
            (folder / name).symlink_to(shutil.which(name) or name)

    def has(self, name: str, script: str) -> None:
        """Give it a program."""
        (self.folder / name).write_text(f"#!{shutil.which('bash')}\n{script}\n")
        (self.folder / name).chmod(0o755)

    def provide(self, **urls: str) -> subprocess.CompletedProcess[str]:
        """See to its servers; RabbitMQ is given, because a real one would be found in the system's folders."""
        env = {"PATH": str(self.folder), "COLLECTORS_TEST_AMQP_URL": "amqp://given//", **urls}
        return subprocess.run(["bash", "-c", PROVIDE], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if any(Path(place, "redis-server").exists() for place in ("/usr/local/sbin", "/usr/sbin", "/opt/homebrew/sbin")):
        pytest.skip("redis-server is in a folder that can't be hidden from the script")
    return Machine(tmp_path)


def test_what_is_given_needs_nothing(machine: Machine) -> None:
    assert machine.provide(COLLECTORS_TEST_REDIS_URL="redis://given").stdout == "redis=redis://given\n"


def test_a_docker_without_an_engine_is_none_and_one_message_says_what_to_do(machine: Machine) -> None:
    machine.has("docker", NO_ENGINE)
    done = machine.provide()
    assert (done.returncode, done.stdout) == (1, "")
    assert "not here: redis-server;" in done.stderr
    for way in ("apt install", "COLLECTORS_TEST_REDIS_URL", "--embedded"):
        assert way in done.stderr
    assert len(done.stderr.splitlines()) == 3


def test_a_container_is_the_last_resort_and_ends_with_the_script(machine: Machine) -> None:
    machine.has("docker", ENGINE)
    done = machine.provide()
    assert done.stdout == "redis=redis://127.0.0.1:49153\n"
    assert done.stderr.splitlines() == ["starting redis-server with docker", "killed c0ffee"]
