"""File tasks stay inside their data folder: every way out is refused, clearly, and nothing is touched."""

from __future__ import annotations

import os
import socket
import stat
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from main import tasks_async
from main.data_folder import DataFile, OutsideDataFolder, data_file
from main.tasks_async import clean_data, create_project


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tasks' data folder, which is not there yet."""
    monkeypatch.setattr(tasks_async, "DATA_DIR", tmp_path / "data")
    return tmp_path / "data"


def assert_refused(file_path: Any, reason: str) -> None:
    for call in (partial(create_project, [1, 1, 3]), clean_data):
        with pytest.raises(OutsideDataFolder, match=reason) as caught:
            call(file_path)
        assert caught.value.file_path == file_path


@pytest.mark.parametrize(
    ("file_path", "reason"),
    [
        ("/etc/passwd", "not below"),
        ("//etc/passwd", "not below"),
        ("/dev/null", "not below"),
        ("/proc/self/mem", "not below"),
        ("..", "leads out"),
        ("../a.csv", "leads out"),
        ("below/../../a.csv", "leads out"),
        ("below/../a.csv", "leads out"),
        ("", "names no file"),
        (".", "names no file"),
        ("a\0.csv", "NUL"),
        ("a.csv\0/../../b", "NUL"),
        ("\ud800.csv", "encoding"),
        ("x" * 201, "longer than 200 bytes"),
        ("ü" * 101, "longer than 200 bytes"),
        (".a.csv.lock", "begin with a dot"),
        (".a.csv.done/00", "begin with a dot"),
        (None, "a path is a string"),
        (3, "a path is a string"),
        (["a.csv"], "a path is a string"),
        (b"a.csv", "a path is a string"),
    ],
)
def test_a_path_that_leads_out_is_refused(data_dir: Path, file_path: Any, reason: str) -> None:
    assert_refused(file_path, reason)
    assert not data_dir.exists()


def test_an_absolute_path_is_refused_unless_it_is_below(data_dir: Path, tmp_path: Path) -> None:
    assert_refused(f"{tmp_path}/a.csv", "not below")
    assert_refused(f"{data_dir}/../a.csv", "leads out")
    assert_refused(f"{data_dir}-other/a.csv", "not below")
    assert_refused(str(data_dir), "names no file")
    create_project([1, 1, 3], f"{data_dir}/a.csv")
    create_project([1, 1, 4], "a.csv")
    assert (data_dir / "a.csv").read_text() == "1,1,3\n1,1,4\n"


def test_a_link_to_the_data_folder_is_the_same_folder(data_dir: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    data_dir.symlink_to(real)
    for file_path in ("a.csv", f"{data_dir}/a.csv", f"{real}/a.csv"):
        create_project([1], file_path)
    assert (real / "a.csv").read_text() == "1\n1\n1\n"


def test_no_link_below_the_data_folder_is_followed(data_dir: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.csv").write_text("theirs\n")
    data_dir.mkdir()
    (data_dir / "a.csv").symlink_to(outside / "a.csv")
    (data_dir / "new.csv").symlink_to(outside / "new.csv")
    (data_dir / "folder").symlink_to(outside)
    for file_path in ("a.csv", "new.csv", "folder/a.csv"):
        assert_refused(file_path, "symbolic link")
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("a.csv", "theirs\n")]


def test_a_file_of_two_names_is_refused(data_dir: Path) -> None:
    create_project([1], "a.csv")
    (data_dir / "b.csv").hardlink_to(data_dir / "a.csv")
    assert_refused("b.csv", "hard link")


@pytest.mark.timeout(20)
def test_what_is_no_plain_file_is_refused_and_never_waited_for(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "folder").mkdir()
    os.mkfifo(data_dir / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(data_dir / "socket"))
        for name in ("folder", "fifo", "socket"):
            assert_refused(name, "no plain file")
    assert_refused("fifo/a.csv", "no folder")


def test_a_device_is_refused(data_dir: Path) -> None:
    data_dir.mkdir()
    try:
        os.mknod(data_dir / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    assert_refused("null", "no plain file")


@pytest.mark.parametrize("slips_in", ["link", "fifo", "hard link"])
def test_what_slips_in_after_the_check_is_refused_when_opened(tmp_path: Path, slips_in: str) -> None:
    other, path = tmp_path / "other", tmp_path / "a.csv"
    other.touch()

    def swap(_: DataFile) -> None:
        if slips_in == "link":
            path.symlink_to(other)
        elif slips_in == "fifo":
            os.mkfifo(path)
        else:
            path.hardlink_to(other)

    with (
        data_file("a.csv", tmp_path, make=False) as file,
        patch.object(DataFile, "exists", swap),
        pytest.raises(OutsideDataFolder),
    ):
        file.open(os.O_RDWR | os.O_CREAT)


def test_folders_and_files_are_made_private(data_dir: Path) -> None:
    before = os.umask(0)
    try:
        create_project([1], "2024/projects.csv")
    finally:
        os.umask(before)
    made = [data_dir, *data_dir.rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}


def test_no_descriptor_stays_open(data_dir: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    create_project([1], "a/b.csv")
    before = count()
    for _ in range(3):
        create_project.apply(([1], "a/b.csv"), task_id="one")
        clean_data("a/b.csv")
        assert_refused("a", "no plain file")
        assert_refused("a/b.csv/c", "no folder")
    assert count() == before
