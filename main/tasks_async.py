"""Tasks on CSV files: a row added exactly once per task id, and malformed rows dropped.

Both are acknowledged late, and given back when their worker dies: running twice is harmless, because the file's journal
knows which task ids are done.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery.utils.log import get_task_logger

from main.celery_app import app
from main.cleaning import clean
from main.csv_row import csv_line
from main.data_folder import data_file
from main.journal import journal_of

# Not the current folder's: workers and callers, wherever they were started, mean the same files.
DATA_DIR = Path(os.environ.get("MAIN_DATA_DIR") or Path(__file__).parents[1] / "data").absolute()

logger = get_task_logger(__name__)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)  # type: ignore[untyped-decorator]
def create_project(self: Any, row: list[Any], file_path: str) -> None:
    """Append one row to a CSV file: exactly once per task id, and always if called plainly.

    Args:
        row: Its cells: strings, numbers, booleans and ``None``; formulas are neutralised.
        file_path: Relative to ``DATA_DIR``, or absolute and below it; made, with its folders, if it is missing.

    Raises:
        BadRow: when the row can't be written as CSV.
        OutsideDataFolder: when the path leads out of ``DATA_DIR``, or is no plain file's.
        NotAppended: when the disk is full, or the like; the file is as it was.
    """
    line, task_id = csv_line(row), self.request.id
    with data_file(file_path, Path(DATA_DIR), make=True) as file, journal_of(file) as journal:
        if task_id and task_id in journal.done:
            logger.info("%s has been done to %s already, and is not done again", task_id, file_path)
            return
        with (
            journal.appending(line, task_id) as (text, opener),
            open(file_path, "a", encoding="utf-8", newline="", opener=opener) as opened,
        ):
            opened.write(text)


@app.task(acks_late=True, reject_on_worker_lost=True)  # type: ignore[untyped-decorator]
def clean_data(file_path: str) -> dict[str, int]:
    """Drop the malformed rows of a CSV file, all at once: readers see the old file or the new one.

    Args:
        file_path: Relative to ``DATA_DIR``, or absolute and below it.

    Returns:
        How many rows were ``kept`` and ``dropped``; no rows of either if there is no such file.

    Raises:
        OutsideDataFolder: when the path leads out of ``DATA_DIR``, or is no plain file's.
    """
    try:
        with data_file(file_path, Path(DATA_DIR), make=False) as file:
            if not file.exists():  # or its lock would be made, and stay
                return {"kept": 0, "dropped": 0}
            with journal_of(file):
                return clean(file)
    except FileNotFoundError:  # its folder is missing
        return {"kept": 0, "dropped": 0}
