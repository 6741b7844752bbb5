"""The payload store: small values inline, larger ones in chunks that are all there or said to be gone."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from celery_collectors.errors import PayloadError
from celery_collectors.payloads import PayloadStore, Value, encode_items

INLINE = 64


@pytest.fixture
def store(ledger_client: Redis) -> PayloadStore:
    return PayloadStore(ledger_client, inline_bytes=INLINE, ttl_s=60)


@pytest.mark.parametrize(("size", "inline"), [(INLINE - 2, True), (INLINE - 1, False)])
def test_up_to_the_limit_a_value_stays_inline(
    store: PayloadStore, ledger_client: Redis, prefix: str, size: int, inline: bool
) -> None:
    value = store.write(prefix, encode_items(["x" * size]))
    assert (value.size, bool(value.inline), value.key == "") == (size + 2, inline, inline)
    assert bool(ledger_client.exists(prefix)) != inline
    assert list(store.items(value)) == ["x" * size]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(st.text(max_size=60), max_size=12), chunk_bytes=st.integers(1, 90))
def test_values_come_back_wherever_they_lie(
    store: PayloadStore, prefix: str, items: list[str], chunk_bytes: int
) -> None:
    value = store.write(f"{prefix}:{len(items)}", encode_items(items, chunk_bytes))
    assert value.items == len(items)
    assert Value.from_bytes(value.to_bytes()) == value
    assert list(store.items(value)) == items


def test_what_is_stored_expires(store: PayloadStore, ledger_client: Redis, prefix: str) -> None:
    store.write(prefix, encode_items(["x" * 100]))
    assert 0 < ledger_client.pttl(prefix) <= 60_000


def test_writing_again_changes_nothing(store: PayloadStore, ledger_client: Redis, prefix: str) -> None:
    values = [store.write(prefix, encode_items(["x" * 70] * 4, 60)) for _ in range(2)]
    assert values[0] == values[1]
    assert ledger_client.hlen(prefix) == values[0].chunks == 4
    assert list(store.items(values[0])) == ["x" * 70] * 4


def test_a_missing_chunk_is_an_error_and_never_fewer_items(
    store: PayloadStore, ledger_client: Redis, prefix: str
) -> None:
    value = store.write(prefix, encode_items(["x" * 70] * 3, 60))
    ledger_client.hdel(prefix, "2")
    with pytest.raises(PayloadError, match=f"chunk 3 of 3 is gone from {prefix}"):
        list(store.items(value))
    ledger_client.delete(prefix)
    with pytest.raises(PayloadError, match="chunk 1 of 3 is gone"):
        list(store.items(value))


def test_a_damaged_chunk_is_an_error_and_never_other_items(
    store: PayloadStore, ledger_client: Redis, prefix: str
) -> None:
    value = store.write(prefix, encode_items(["x" * 700] * 3, 60))
    stored = bytearray(ledger_client.hget(prefix, "1"))  # type: ignore[arg-type]
    stored[-1] ^= 1
    ledger_client.hset(prefix, "1", bytes(stored))
    found = store.items(value)
    assert next(found) == "x" * 700
    with pytest.raises(PayloadError, match="damaged"):
        next(found)
