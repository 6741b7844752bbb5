"""A row is added exactly once per task id, whole or not at all, however processes die."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import MagicMock, mock_open, patch

import pytest
from celery.backends.base import DisabledBackend

from main import done_ids, tasks_async
from main.celery_app import app
from main.csv_row import BadRow
from main.data_folder import OutsideDataFolder
from main.journal import NotAppended
from main.tasks_async import clean_data, create_project
from tests.main.dying import die_at_every_line, die_in_mid_write

ROW = [1, 1, 3]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tasks' data folder."""
    monkeypatch.setattr(tasks_async, "DATA_DIR", tmp_path)
    return tmp_path


@pytest.fixture
def data(data_dir: Path) -> Path:
    """A data file with one row."""
    create_project([0, 0, 0], "a.csv")
    return data_dir / "a.csv"


def deliver(task_id: str, row: list[object] | None = None) -> None:
    """Run the task as a worker does."""
    create_project.apply((row or ROW, "a.csv"), task_id=task_id, throw=True)


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """A full disk, as near as a process can have it: a write past this size is cut short, and fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# How the tasks are declared ---------------------------------------------------------------------------


@pytest.mark.parametrize("task", [create_project, clean_data])
def test_a_killed_workers_message_is_given_back(task: MagicMock) -> None:
    assert task.acks_late and task.reject_on_worker_lost
    assert app.tasks[task.name] is app.tasks[f"main.tasks_async.{task.__name__}"]


def test_the_data_folder_may_be_a_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_async, "DATA_DIR", str(tmp_path))
    create_project(ROW, "a.csv")
    assert (tmp_path / "a.csv").read_text() == "1,1,3\n"


# What is written --------------------------------------------------------------------------------------


def test_a_row_is_one_open_and_one_write(data_dir: Path) -> None:
    with patch("builtins.open", mock_open()) as opened:
        create_project(ROW, "a.csv")
    assert [call.args for call in opened.call_args_list] == [("a.csv", "a")]
    opened().write.assert_called_once_with("1,1,3\n")


def test_a_bad_row_touches_nothing(data_dir: Path) -> None:
    with pytest.raises(BadRow):
        create_project("1,1,3", "a.csv")
    assert list(data_dir.iterdir()) == []


def test_a_large_row_is_written_whole(data: Path) -> None:
    create_project(["x" * 100_000], "a.csv")
    assert data.read_text() == "0,0,0\n" + "x" * 100_000 + "\n"


def test_a_row_is_not_glued_to_a_line_without_its_end(data: Path) -> None:
    data.write_text("0,0,0")
    create_project(ROW, "a.csv")
    assert data.read_text() == "0,0,0\n1,1,3\n"


# Once per task id -------------------------------------------------------------------------------------


def test_a_task_id_is_done_once_and_plain_calls_always(data: Path) -> None:
    for _ in range(3):
        deliver("one")
        create_project(ROW, "a.csv")
    deliver("two")
    assert data.read_text() == "0,0,0\n" + "1,1,3\n" * 5


def test_an_id_is_done_per_file(data: Path) -> None:
    deliver("one")
    create_project.apply((ROW, "b.csv"), task_id="one", throw=True)
    assert data.read_text() == "0,0,0\n1,1,3\n"
    assert data.with_name("b.csv").read_text() == "1,1,3\n"


@pytest.mark.parametrize("task_id", ["../../x", "ü" * 255, "\ud800", "a\0b", "x" * 255])
def test_any_task_id_will_do(data: Path, task_id: str) -> None:
    deliver(task_id)
    deliver(task_id)
    assert data.read_text() == "0,0,0\n1,1,3\n"


def test_what_was_done_stays_done_after_cleaning(data: Path) -> None:
    create_project([1, 1], "a.csv")
    deliver("one")
    assert clean_data("a.csv") == {"kept": 2, "dropped": 1}
    deliver("one")
    assert data.read_text() == "0,0,0\n1,1,3\n"


def test_one_id_in_many_threads_is_done_once(data: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(deliver, ["one"] * 40))
    assert data.read_text() == "0,0,0\n1,1,3\n"


def test_rows_and_cleaning_at_the_same_time_lose_nothing(data: Path) -> None:
    """Cleaning puts another file in place, and no row may go to the old one."""
    context = multiprocessing.get_context("fork")
    adding = [context.Process(target=_add, args=(number,)) for number in range(3)]
    for process in adding:
        process.start()
    while any(process.is_alive() for process in adding):
        create_project(["malformed"], "a.csv")
        clean_data("a.csv")
    assert {process.exitcode for process in adding} == {0}
    clean_data("a.csv")
    expected = ["0,0,0"] + [f"{number},{turn},3" for number in range(3) for turn in range(200)]
    assert sorted(data.read_text().splitlines()) == sorted(expected)


def _add(number: int) -> None:
    for turn in range(200):
        deliver(f"{number}-{turn}", [number, turn, 3])


# Killed, wherever ------------------------------------------------------------------------------------


@pytest.mark.parametrize("others_first", [False, True], ids=["delivered again", "another's row first"])
def test_killed_at_any_line_the_row_is_there_once(data: Path, others_first: bool) -> None:
    deaths = there = 0

    def add() -> None:
        deliver(f"id {deaths}", [deaths, 1, 3])

    for _ in die_at_every_line(add):
        there += f"{deaths},1,3" in data.read_text().splitlines()
        if others_first:
            create_project([0, 0, 0], "a.csv")
        add()
        deaths += 1
    assert 5 < there < deaths - 20  # some were killed before the write, some after
    expected = [f"{number},1,3" for number in range(deaths + 1)]  # the last child lived, and added its own
    expected += ["0,0,0"] * (1 + deaths * others_first)
    assert sorted(data.read_text().splitlines()) == sorted(expected)


@pytest.mark.parametrize("written", range(7))
@pytest.mark.parametrize("task_id", ["one", None], ids=["with an id", "plain"])
def test_a_row_torn_by_a_kill_is_taken_back(data: Path, task_id: str | None, written: int) -> None:
    call: Callable[[], None] = (lambda: deliver(task_id)) if task_id else (lambda: create_project(ROW, "a.csv"))
    die_in_mid_write(call, written)
    assert data.read_text() == "0,0,0\n" + "1,1,3\n"[:written]
    create_project([2, 2, 2], "a.csv")
    assert data.read_text() == "0,0,0\n2,2,2\n"
    if task_id:
        deliver(task_id)
        assert data.read_text() == "0,0,0\n2,2,2\n1,1,3\n"


def test_a_row_torn_by_a_kill_is_taken_back_before_cleaning(data: Path) -> None:
    die_in_mid_write(lambda: deliver("one"), 5)
    assert clean_data("a.csv") == {"kept": 1, "dropped": 0}
    deliver("one")
    assert data.read_text() == "0,0,0\n1,1,3\n"


def test_a_file_that_somebody_mended_by_hand_is_left_alone(data: Path) -> None:
    die_in_mid_write(lambda: deliver("one"), 3)
    data.write_text("0,0,0\n5,5,5\n6,6,6\n")
    deliver("one")
    assert data.read_text() == "0,0,0\n5,5,5\n6,6,6\n1,1,3\n"


def test_a_file_that_somebody_put_in_place_is_left_alone(data: Path) -> None:
    die_in_mid_write(lambda: deliver("one"), 3)
    beside = data.with_name("beside")
    beside.write_text("5,5,5\n6,6\n")
    beside.rename(data)
    deliver("one")
    assert data.read_text() == "5,5,5\n6,6\n1,1,3\n"


def test_a_file_that_was_deleted_stays_deleted_until_the_next_row(data: Path) -> None:
    die_in_mid_write(lambda: deliver("one"), 3)
    data.unlink()
    deliver("one")
    assert data.read_text() == "1,1,3\n"


def test_a_lock_that_was_deleted_while_it_was_waited_for_is_not_held(data: Path) -> None:
    """Or whoever waited for the deleted one would go on beside the holder of the new one."""
    lock = data.with_name(".a.csv.lock")

    def flock(*_: object) -> None:
        if locked.call_count == 1:
            lock.unlink()

    with patch("fcntl.flock", side_effect=flock) as locked:
        create_project(ROW, "a.csv")
    assert locked.call_count == 2
    assert data.read_text() == "0,0,0\n1,1,3\n"


# A full disk, and other errors -----------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, 1, 5])
def test_a_full_disk_leaves_the_file_as_it_was(data: Path, room: int) -> None:
    data.write_text("0,0,0\n" * 1000)
    with (
        files_no_longer_than(6000 + room),
        pytest.raises(NotAppended, match=r"no row was added.*File too large") as caught,
    ):
        deliver("one")
    assert caught.value.filename == "a.csv"
    assert data.read_text() == "0,0,0\n" * 1000
    deliver("one")
    assert data.read_text() == "0,0,0\n" * 1000 + "1,1,3\n"


@pytest.mark.parametrize("size", [0, 10, 63])
def test_a_disk_too_full_for_the_journal_leaves_the_file_as_it_was(data: Path, size: int) -> None:
    with files_no_longer_than(size), pytest.raises(NotAppended):
        deliver("one")
    assert data.read_text() == "0,0,0\n"
    deliver("one")
    assert data.read_text() == "0,0,0\n1,1,3\n"


def test_an_id_that_cant_be_noted_takes_its_row_back(data: Path) -> None:
    with patch.object(done_ids, "_write", side_effect=OSError(28, "No space left on device")):
        with pytest.raises(NotAppended, match="No space left"):
            deliver("one")
        assert data.read_text() == "0,0,0\n"
    deliver("one")
    assert data.read_text() == "0,0,0\n1,1,3\n"


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), RuntimeError("soft time limit")])
def test_whatever_is_raised_in_mid_write_the_row_is_taken_back(data: Path, error: BaseException) -> None:
    really_open = open

    def opened(*args: object, **kwargs: object) -> object:
        file = really_open(*args, **kwargs)  # type: ignore[call-overload]
        file.write("1,1")
        file.flush()
        raise error

    with patch("builtins.open", opened), pytest.raises(type(error)):
        create_project(ROW, "a.csv")
    assert data.read_text() == "0,0,0\n"


@pytest.mark.parametrize(
    "error",
    [
        BadRow("a row is a list of cells"),
        OutsideDataFolder("../a.csv", "'..' leads out of the data folder"),
        NotAppended(28, "no row was added", "a.csv"),
    ],
)
def test_a_callers_error_is_that_of_the_worker(error: Exception) -> None:
    """A pool's process sends it by pickle; a result has its class and arguments."""
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    backend = DisabledBackend(app)
    stored = json.loads(json.dumps(backend.prepare_exception(error, "json")))
    assert type(backend.exception_to_python(stored)) is type(error)
    assert str(backend.exception_to_python(stored)).startswith(str(error).removesuffix(": 'a.csv'"))


# The journal's own files ------------------------------------------------------------------------------


def test_done_ids_are_forgotten_after_their_time(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(done_ids, "KEPT_S", -1)  # at once
    _one_bucket(monkeypatch)
    for number in range(50):
        deliver(str(number))
    assert (data.with_name(".a.csv.done") / "00").stat().st_size <= 3 * 64


def test_done_ids_are_kept_for_their_time(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _one_bucket(monkeypatch)
    for turn in range(2):
        for number in range(50):
            deliver(str(number), [turn, number, 3])
    assert len(data.read_text().splitlines()) == 51
    assert (data.with_name(".a.csv.done") / "00").stat().st_size == 50 * 64


def _one_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    really = done_ids._digest
    monkeypatch.setattr(done_ids, "_digest", lambda task_id: b"00" + really(task_id)[2:])


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b"[]", b"\0" * 64, json.dumps({"start": 0}).encode()])
def test_a_damaged_note_takes_nothing_back(data: Path, damage: bytes) -> None:
    data.with_name(".a.csv.lock").write_bytes(damage)
    deliver("one")
    assert data.read_text() == "0,0,0\n1,1,3\n"


def test_a_torn_record_of_a_done_id_is_cut(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _one_bucket(monkeypatch)
    deliver("one")
    bucket = data.with_name(".a.csv.done") / "00"
    os.truncate(bucket, 63)
    deliver("two")
    deliver("two")
    assert bucket.stat().st_size == 64
    assert data.read_text() == "0,0,0\n" + "1,1,3\n" * 2
