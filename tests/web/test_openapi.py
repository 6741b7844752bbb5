"""The OpenAPI document: committed, and true of the app."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery

from celery_collectors import Collectors
from celery_collectors.web.app import create_app
from celery_collectors.web.face import Limits
from celery_collectors.web.keys import make_key
from tests.web.conftest import Served

HERE = Path(__file__).parent

DOCUMENT = Path(__file__).parents[2] / "docs/reference/openapi.json"
WRITE = "COLLECTORS_WRITE_OPENAPI"
EXAMPLES = "20"


def test_the_committed_document_is_that_of_the_app() -> None:
    document = create_app(Collectors(Celery("documented"))).openapi()
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get(WRITE):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == text, (
        f"the API has changed. If that is meant, write it anew: {WRITE}=1 .venv/bin/pytest {Path(__file__).name}"
    )
    assert document["openapi"].startswith("3.1")


@pytest.mark.heavy
@pytest.mark.usefixtures("worker")
@pytest.mark.timeout(400)
def test_the_app_keeps_what_the_document_says(project: Collectors, tmp_path: Path) -> None:
    """All of schemathesis's checks, in all its phases, on a real ledger."""
    key, line = make_key("schemathesis")
    (tmp_path / "keys").write_text(line)
    server = Served(project, keys=tmp_path / "keys", limits=Limits(stream_s=0.3, wait_s=1, open_requests=100_000))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"]
    options = ["--max-examples", EXAMPLES, "--seed", "1"]
    done = subprocess.run(
        [*command, str(DOCUMENT), "--url", server.url, "--checks", "all", *options],
        cwd=tmp_path,
        env={
            **os.environ,
            "KEY": key,
            "SCHEMATHESIS_HOOKS": "tests.web.schemathesis_hooks",
            "PYTHONPATH": str(HERE.parents[1]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    server.stop()
    assert done.returncode == 0, done.stdout + done.stderr
