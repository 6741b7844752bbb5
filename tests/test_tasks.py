"""The original's cases by name, made real; what else is promised about the tasks is in ``tests/main``."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest.mock import mock_open, patch
from uuid import UUID

import pytest
import redis
from celery import group

from main import tasks_async, tasks_collectors
from main.celery_app import collectors
from main.tasks_async import clean_data, create_project
from main.tasks_collectors import collector_gathering, collector_request, generate_collector_request


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file tasks' folder."""
    monkeypatch.setattr(tasks_async, "DATA_DIR", tmp_path)
    return tmp_path


def test_clean_data(data_dir: Path) -> None:
    (data_dir / "projects.csv").write_text("1,1,3\n2,2\n2,3,4\n3,3,")
    with patch("builtins.open", mock_open()) as opened:
        assert clean_data("projects.csv") == {"kept": 2, "dropped": 2}
    opened.assert_not_called()  # a file opened for writing would be empty for its readers, and half done if we died
    assert (data_dir / "projects.csv").read_text() == "1,1,3\n2,3,4\n"


def test_create_project(data_dir: Path) -> None:
    with patch("builtins.open", mock_open()) as opened:
        create_project([1, 1, 3], "projects.csv")
    opened.assert_called_once()
    assert opened.call_args.args == ("projects.csv", "a")
    opened().write.assert_called_once_with("1,1,3\n")


def test_create_project_stress(data_dir: Path) -> None:
    """10,000 calls from eight processes; ``tests/main`` has as many over RabbitMQ, with workers killed on the way."""
    with ProcessPoolExecutor(8) as processes:
        list(processes.map(_create_projects, range(0, 10_000, 100)))
    lines = (data_dir / "projects.csv").read_text().split("\n")
    assert lines.pop() == ""
    assert sorted(lines) == sorted(f"{number},1,3" for number in range(10_000))


def _create_projects(first: int) -> None:
    for number in range(first, first + 100):
        create_project([number, 1, 3], "projects.csv")


def test_generate_collector_request() -> None:
    first, second = generate_collector_request("python"), generate_collector_request("python")
    assert first != second
    assert [UUID(text).version for text in (first, second)] == [4, 4]
    assert str(UUID(first)) == first


def test_collector_request_triggers_sub_collectors(collectors_server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group and its callback are looked at on their way; what was sent, in the broker."""
    broker = redis.Redis(unix_socket_path=str(collectors_server))
    broker.flushall()
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis+socket://{collectors_server}?virtual_host=0")
    collectors.configure(ledger=f"unix://{collectors_server}?db=1")
    try:
        with (
            patch("main.tasks_collectors.group", wraps=group) as grouped,
            patch("main.tasks_collectors.collector_gathering.s", wraps=collector_gathering.s) as gathering,
        ):
            request_id = collector_request("python")
        report = collectors.get(request_id).report()
    finally:
        collectors.configure(ledger=None)
    sub_collectors = [f"{tasks_collectors.__name__}.collector_{number}" for number in (1, 2, 3)]
    (called,) = grouped.call_args_list
    assert [(signature.task, signature.args) for signature in called.args] == [
        (name, ("python", request_id)) for name in sub_collectors
    ]
    gathering.assert_called_once_with(request_id)
    assert {name: str(outcome.state) for name, outcome in report.outcomes.items()} == dict.fromkeys(
        ("collector_1", "collector_2", "collector_3"), "queued"
    )
    messages = [json.loads(raw) for key in broker.keys("collectors.main.v1*") for raw in broker.lrange(key, 0, -1)]
    assert sorted(message["headers"]["task"] for message in messages) == sub_collectors
    assert {message["headers"]["root_id"] for message in messages} == {request_id}
