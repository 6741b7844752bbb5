"""Items as Parquet: a column for each key, of the type that its values have, some rows in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time
from importlib.util import find_spec
from typing import IO, Any

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.csv_table import as_row, as_text

_ALONE = "value"
GROUP_ROWS = 50_000
GROUP_BYTES = 16 * 2**20
_CELL_BYTES = 16  # of a value that is no text, roughly
MOST_COLUMNS = 10_000
_EXACT_IN_A_FLOAT = 2**53
_LONGEST_INT = 2**63


def refuse_without_pyarrow() -> None:
    """Say so before anything is read.

    Raises:
        Complaint: naming the extra that brings it.
    """
    if find_spec("pyarrow") is None:
        raise Complaint(
            "Parquet needs pyarrow, which is not installed", hint="pip install 'celery-collectors[parquet]'"
        )


def write_parquet(items: Callable[[], Iterable[Any]], file: IO[bytes]) -> None:
    """Write items as a Parquet file.

    Args:
        items: Called twice: the columns are all keys of all items, in the order in which they come up, and a column's
            type is that of all its values; where these differ it is text, as a CSV has it. What is no object has a
            column of its own, named ``value``.
        file: Written from front to back, so it may be a pipe.

    Raises:
        Complaint: for more columns than a table should have.
    """
    import pyarrow
    import pyarrow.parquet

    kinds = _columns(items()) or {_ALONE: set()}
    types = [_type(found) for found in kinds.values()]
    texts = [pyarrow.types.is_string(kind) for kind in types]
    schema = pyarrow.schema(list(zip(map(_clean, kinds), types, strict=True)))
    with pyarrow.parquet.ParquetWriter(_Forwards(file), schema) as writer:
        for group in _groups(items(), dict(zip(kinds, texts, strict=True))):
            arrays = [pyarrow.array(cells, kind) for cells, kind in zip(group, types, strict=True)]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def _columns(items: Iterable[Any]) -> dict[str, set[str]]:
    """Which kinds of values each column has."""
    found: dict[str, set[str]] = {}
    for item in items:
        for name, value in as_row(item, _ALONE).items():
            kinds = found.setdefault(name, set())
            if value is not None:
                kinds.add(_kind(value))
        if len(found) > MOST_COLUMNS:
            raise Complaint(
                f"the items have more than {MOST_COLUMNS:,} different keys, and each would be a column",
                hint="take --format ndjson",
            )
    return found


def _kind(value: Any) -> str:
    kind = type(value)
    if kind is int:
        size = abs(value)
        return "int" if size <= _EXACT_IN_A_FLOAT else "long int" if size < _LONGEST_INT else "text"
    if kind is datetime:
        return "datetime" if value.tzinfo is None else "moment"
    if kind is time and value.tzinfo is not None:
        return "text"
    return kind.__name__ if kind in (bool, float, str, bytes, date, time) else "text"


def _type(kinds: set[str]) -> Any:
    """The type of a column with values of these kinds."""
    import pyarrow

    one: Mapping[str, Any] = {
        "bool": pyarrow.bool_(),
        "int": pyarrow.int64(),
        "long int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "bytes": pyarrow.binary(),
        "date": pyarrow.date32(),
        "time": pyarrow.time64("us"),
        "datetime": pyarrow.timestamp("us"),
        "moment": pyarrow.timestamp("us", "UTC"),
    }
    if kinds == {"int", "long int"}:
        return pyarrow.int64()
    if kinds == {"int", "float"}:
        return pyarrow.float64()
    (kind,) = kinds if len(kinds) == 1 else ("text",)
    return one.get(kind, pyarrow.string())


def _groups(items: Iterable[Any], texts: Mapping[str, bool]) -> Iterator[list[list[Any]]]:
    """The cells of some rows at a time, column by column."""
    group: list[list[Any]] = [[] for _ in texts]
    rows = size_bytes = 0
    for item in items:
        row = as_row(item, _ALONE)
        for cells, (name, is_text) in zip(group, texts.items(), strict=True):
            value = row.get(name)
            cell = _clean(as_text(value)) if is_text and value is not None else value
            size_bytes += _CELL_BYTES + (len(cell) if isinstance(cell, (str, bytes)) else 0)
            cells.append(cell)
        rows += 1
        if rows == GROUP_ROWS or size_bytes >= GROUP_BYTES:
            yield group
            group = [[] for _ in texts]
            rows = size_bytes = 0
    if rows:
        yield group


def _clean(text: str) -> str:
    """Without half characters, which UTF-8 can't hold."""
    return text.encode(errors="backslashreplace").decode()


class _Forwards:
    """A file that is only written to, and that knows how far: a pipe does not."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._at = 0

    def write(self, data: Any) -> int:
        self._file.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Whoever opened it closes it."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False
