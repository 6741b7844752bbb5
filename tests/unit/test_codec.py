"""The codec: what can be stored comes back as it was, at any chunk size; the rest is refused by name."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_collectors.errors import BadItems, PayloadError
from celery_collectors.payloads import Value, decode_items, encode_items, encode_result
from celery_collectors.payloads.codec import AT_ONCE, Chunk, decode_result
from celery_collectors.payloads.frames import sealed, unsealed

of_json = (st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)) | st.text()
of_ours = (
    st.binary() | st.decimals(allow_nan=False) | st.datetimes(timezones=st.none() | st.just(UTC)) | st.dates()
    | st.times() | st.timedeltas() | st.uuids()
)  # fmt: skip


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
    )


values = nested(of_json | of_ours)


def comes_back(item: Any) -> Any:
    (chunk,) = encode_items([item])
    (found,) = decode_items(chunk)
    return found


@pytest.mark.parametrize("as_source", [list, iter])  # which are read differently
@given(items=st.lists(values, max_size=20), chunk_bytes=st.integers(1, 400))
def test_items_come_back_at_any_chunk_size(as_source: Any, items: list[Any], chunk_bytes: int) -> None:
    chunks = list(encode_items(as_source(items), chunk_bytes))
    assert [item for chunk in chunks for item in decode_items(chunk)] == items
    assert sum(chunk.items for chunk in chunks) == len(items)
    assert all(chunk.items for chunk in chunks)
    assert all(len(chunk.data) >= chunk_bytes for chunk in chunks[:-1])


@given(
    value=nested(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text()
    )
)
def test_a_result_comes_back(value: Any) -> None:
    assert decode_result(encode_result(value)) == value


def test_items_are_encoded_as_they_come() -> None:
    def endless() -> Any:
        while True:
            yield "x" * 100

    assert next(encode_items(endless(), 1000)).items == 10


@given(item=of_json | of_ours)
def test_a_value_keeps_its_type(item: Any) -> None:
    found = comes_back(item)
    assert (type(found), found) == (type(item), item)


def test_what_json_would_change_is_not_changed() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    at = datetime(2026, 1, 2, 3, 4, 5, 6, zone)
    assert comes_back(at).utcoffset() == zone.utcoffset(None)
    assert str(comes_back(Decimal("1.10"))) == "1.10"
    assert math.isnan(comes_back(math.nan))
    assert comes_back({1: "a", None: "b", date(2026, 1, 2): "c"}) == {1: "a", None: "b", "2026-01-02": "c"}
    assert comes_back([2**64, -(2**80), 10**5000]) == [2**64, -(2**80), 10**5000]


@pytest.mark.parametrize("keys", [1, 100])  # which are looked at differently
def test_one_value_or_key_of_many_that_messagepack_does_not_know_comes_back(keys: int) -> None:
    row = dict.fromkeys(map(str, range(keys)), "plain")
    price = Decimal("1.10")
    assert comes_back(row | {"price": price}) == row | {"price": price}
    assert comes_back(row | {"prices": [price]}) == row | {"prices": [price]}
    assert comes_back(row | {timedelta(1): 1}) == row | {"1 0 0": 1}
    assert comes_back([*row, price]) == [*row, price]


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(str):
    """Such as a parser of HTML gives, which holds on to the whole page."""


@dataclasses.dataclass
class Quote:
    price: Decimal
    at: datetime
    tags: tuple[str, ...] = ()


class Row(msgspec.Struct):
    quote: Quote
    raw: bytes


class Model:
    """What a pydantic model is, as far as the codec looks."""

    def model_dump(self) -> dict[str, Any]:
        return {"colour": Colour.RED, "rows": [Row(Quote(Decimal("1.10"), datetime(2026, 1, 2)), b"raw")]}


Point = namedtuple("Point", "x y")


def test_objects_become_what_they_consist_of() -> None:
    quote = {"price": Decimal("1.10"), "at": datetime(2026, 1, 2), "tags": []}
    assert comes_back(Model()) == {"colour": "red", "rows": [{"quote": quote, "raw": b"raw"}]}
    assert comes_back([Colour.RED, Level.HIGH, Point(1, 2)]) == ["red", 3, [1, 2]]
    assert comes_back(OrderedDict(a=bytearray(b"b"), c=memoryview(b"d"))) == {"a": b"b", "c": b"d"}
    word = comes_back([Word("w")])[0]
    assert (type(word), word) == (str, "w")


@pytest.mark.parametrize(
    ("bad", "type_", "why"),
    [
        (object(), "object", "object is none of the types"),
        ({"a": 1j}, "dict", "complex is none of the types"),
        ({(1, 2): 3}, "dict", "a key of type tuple"),
        (Quote, "type", "type is none of the types"),
        (msgspec.msgpack.Ext(99, b"a"), "Ext", "Ext"),
        ("\ud800", "str", "surrogates not allowed"),
    ],
)
def test_what_can_not_be_stored_is_named_with_its_place(bad: Any, type_: str, why: str) -> None:
    with pytest.raises(BadItems, match=rf"item 3 \({type_}\) can't be stored: .*{why}"):
        list(encode_items(["fine", "fine", "fine", bad], chunk_bytes=1))


def test_a_result_that_json_can_not_hold_is_refused() -> None:
    with pytest.raises(BadItems, match=r"the result \(dict\) can't be stored as JSON"):
        encode_result({"a": 1j})


def test_what_contains_itself_is_refused() -> None:
    knot: list[Any] = []
    knot.append(knot)
    with pytest.raises(BadItems, match=r"item 0 \(list\) can't be stored: it contains itself"):
        list(encode_items([knot]))


@pytest.mark.parametrize("damaged", [b"\x92{", b"\xc1", b"\xd9\x01\xff", b"\xd4\x63a", b"\xd4\x01x"])
def test_damage_is_noticed(damaged: bytes) -> None:
    for decode in (lambda data: decode_items(Chunk(data, 1)), decode_result, Value.from_bytes):
        with pytest.raises(PayloadError, match="damaged"):
            decode(damaged)


@given(data=st.binary(max_size=2000), at=st.integers(0), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_frame_passes_for_data(data: bytes, at: int, bit: int) -> None:
    frame = bytearray(sealed(Chunk(data, 3)))
    assert list(unsealed(bytes(frame) * 2)) == [Chunk(data, 3)] * 2
    frame[at % len(frame)] ^= 1 << bit
    with pytest.raises(PayloadError, match="damaged"):
        list(unsealed(bytes(frame)))


@given(data=st.binary(min_size=1, max_size=2000), cut=st.integers(1))
def test_no_frame_that_ends_early_passes_for_data(data: bytes, cut: int) -> None:
    frame = sealed(Chunk(data, 1))
    with pytest.raises(PayloadError, match="damaged"):
        list(unsealed(frame[: 1 + cut % (len(frame) - 1)][:-1] or frame[:1]))


def test_what_repeats_itself_takes_less() -> None:
    chunk = Chunk(b"the same again " * 1000, 1000)
    assert len(sealed(chunk)) < len(chunk.data) / 50


@pytest.mark.parametrize("before", [(), (1,), (1, 2), (1, "a"), (1, "a", None)])  # which are taken differently
def test_an_object_that_is_changed_after_it_was_yielded_is_stored_as_it_was_then(before: tuple[Any, ...]) -> None:
    def one_row_again_and_again() -> Any:
        row = {}
        for number in range(500):
            row["number"] = Decimal(number)
            yield from before
            yield row

    (chunk,) = encode_items(one_row_again_and_again())
    found = decode_items(chunk)
    assert found == [item for number in range(500) for item in (*before, {"number": Decimal(number)})]


@pytest.mark.parametrize("as_source", [list, iter])
def test_a_bad_item_among_many_is_named_with_its_place(as_source: Any) -> None:
    with pytest.raises(BadItems, match=r"item 777 \(complex\) can't be stored"):
        list(encode_items(as_source([*range(777), 1j, *range(9)])))


@pytest.mark.parametrize("small", [10_000, 10_001, 10_040, 10_400])
@pytest.mark.parametrize("kind", [int, str])
def test_few_items_are_held_before_they_are_encoded(kind: type, small: int) -> None:
    """However small those before it were, what is large fills chunks of its own."""
    given = 0

    def small_then_large() -> Any:
        nonlocal given
        yield from map(kind, range(small))
        for _ in range(1000):
            given += 1
            yield "x" * 300_000

    chunks = encode_items(small_then_large())
    assert next(chunks).items > small
    assert given <= AT_ONCE
    given = 0
    next(chunks)
    assert given <= 2


def test_what_an_older_version_stored_is_said_to_be_that_and_not_empty() -> None:
    older = msgspec.msgpack.encode({"items": 3, "size": 9, "key": "a:b", "chunks": 1})
    with pytest.raises(PayloadError, match="a:b was written by another version"):
        Value.from_bytes(older)
