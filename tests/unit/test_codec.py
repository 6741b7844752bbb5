"""The codec: whatever JSON can hold comes back, at any chunk size; the rest is refused by name."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_collectors.errors import BadItems, PayloadError
from celery_collectors.payloads import Value, decode_items, encode_items, encode_result
from celery_collectors.payloads.codec import decode_result

scalars = (st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@given(items=st.lists(values, max_size=20), chunk_bytes=st.integers(1, 400))
def test_items_come_back_at_any_chunk_size(items: list[Any], chunk_bytes: int) -> None:
    chunks = list(encode_items(items, chunk_bytes))
    assert [item for chunk in chunks for item in decode_items(chunk.data)] == items
    assert sum(chunk.items for chunk in chunks) == len(items)
    assert all(chunk.items for chunk in chunks)
    assert all(len(chunk.data) >= chunk_bytes for chunk in chunks[:-1])


@given(items=st.lists(values, max_size=5))
def test_chunks_can_be_joined(items: list[Any]) -> None:
    assert decode_items(b"".join(chunk.data for chunk in encode_items(items, 10))) == items


@given(value=values)
def test_a_result_comes_back(value: Any) -> None:
    assert decode_result(encode_result(value)) == value


def test_items_are_encoded_as_they_come() -> None:
    def endless() -> Any:
        while True:
            yield "x" * 100

    assert next(encode_items(endless(), 1000)).items == 10


def test_dates_and_decimals_become_text() -> None:
    (chunk,) = encode_items([datetime(2026, 1, 2, tzinfo=UTC), date(2026, 1, 2), Decimal("1.10")])
    assert decode_items(chunk.data) == ["2026-01-02T00:00:00Z", "2026-01-02", "1.10"]


@pytest.mark.parametrize(
    ("bad", "type_"), [(object(), "object"), ({"a": 1j}, "dict"), ({1j}, "set"), ({(1, 2): 3}, "dict")]
)
def test_what_json_can_not_hold_is_named_with_its_place(bad: Any, type_: str) -> None:
    with pytest.raises(BadItems, match=rf"item 3 \({type_}\) can't be stored as JSON"):
        list(encode_items(["fine", "fine", "fine", bad], chunk_bytes=1))
    with pytest.raises(BadItems, match=rf"the result \({type_}\)"):
        encode_result(bad)


def test_what_contains_itself_is_refused() -> None:
    knot: list[Any] = []
    knot.append(knot)
    with pytest.raises(BadItems, match=r"item 0 \(list\)"):
        list(encode_items([knot]))


@pytest.mark.parametrize("damaged", [b"{", b"1\n}", b"\xff"])
def test_damage_is_noticed(damaged: bytes) -> None:
    for decode in (decode_items, decode_result, Value.from_bytes):
        with pytest.raises(PayloadError, match="damaged"):
            decode(damaged)
