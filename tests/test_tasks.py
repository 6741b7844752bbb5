"""The original's cases by name, made real; what else is promised about the tasks is in ``tests/main``."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest.mock import mock_open, patch

import pytest

from main import tasks_async
from main.tasks_async import clean_data, create_project


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
