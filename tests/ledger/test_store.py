"""The payload store: small values inline, larger ones as blobs that are all there and whole, or said not to be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from celery_collectors.errors import PayloadError, PayloadsUnavailable, SettingsError, TooLarge
from celery_collectors.ledger.stores import blobs_at
from celery_collectors.payloads import Cap, PayloadStore, Value, encode_items
from celery_collectors.payloads.apart import ApartBlobs
from celery_collectors.payloads.blobs import Blobs
from celery_collectors.payloads.codec import CHUNK_BYTES
from celery_collectors.payloads.file_blobs import FileBlobs
from celery_collectors.payloads.object_blobs import in_bucket
from celery_collectors.payloads.redis_blobs import RedisBlobs
from tests.ledger.stores import KINDS, drop, lying_in, write
from tests.servers.s3 import S3, SECRETS

INLINE = 64
LARGE = [f"{number:0>1000}" for number in range(2900)]  # three blobs of about a megabyte


@pytest.fixture(params=KINDS)
def blobs(
    request: pytest.FixtureRequest, ledger_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Blobs:
    """Each kind of place, as its URL makes it."""
    if request.param == "redis":
        return RedisBlobs(lambda: nullcontext(ledger_client), "redis")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    if request.param == "s3":
        s3: S3 = request.getfixturevalue("s3_server")
        return blobs_at(s3.bucket("payloads"), 1)
    return blobs_at({"file": f"file://{tmp_path}/payloads", "memory": "memory://"}[request.param], 1)


@pytest.fixture
def store(blobs: Blobs) -> PayloadStore:
    return PayloadStore(blobs, inline_bytes=INLINE, ttl_s=60)


@pytest.fixture
def key(prefix: str) -> str:
    return f"{prefix}:{{0}}:payload:r1:0:1.1"


@pytest.mark.parametrize(("size", "inline"), [(INLINE - 2, True), (INLINE - 1, False)])
def test_up_to_the_limit_a_value_stays_inline(
    store: PayloadStore, ledger_client: Redis, key: str, size: int, inline: bool
) -> None:
    value = write(store, key, encode_items(["x" * size]))
    assert (value.size, bool(value.inline), value.key == "") == (size + 2, inline, inline)
    assert bool(lying_in(store.blobs, ledger_client, key)) != inline
    assert list(store.items(value)) == ["x" * size]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(st.text(max_size=60), max_size=12), chunk_bytes=st.integers(1, 90))
def test_values_come_back_wherever_they_lie(store: PayloadStore, key: str, items: list[str], chunk_bytes: int) -> None:
    value = write(store, f"{key}{len(items)}", encode_items(items, chunk_bytes))
    assert value.items == len(items)
    assert Value.from_bytes(value.to_bytes()) == value
    assert list(store.items(value)) == items


def test_large_values_come_back_in_several_blobs(store: PayloadStore, ledger_client: Redis, key: str) -> None:
    value = write(store, key, encode_items(LARGE))
    assert len(lying_in(store.blobs, ledger_client, key)) == value.blobs == 3
    assert list(store.items(value)) == LARGE


def test_only_one_blob_of_a_large_value_is_read_before_its_first_item(
    store: PayloadStore, ledger_client: Redis, key: str
) -> None:
    value = write(store, key, encode_items(LARGE))
    drop(store.blobs, ledger_client, key, 1)
    found = store.items(value)
    assert [next(found) for _ in range(1000)] == LARGE[:1000]


def test_writing_again_changes_nothing(store: PayloadStore, ledger_client: Redis, key: str) -> None:
    values = [write(store, key, encode_items(LARGE)) for _ in range(2)]
    assert values[0] == values[1]
    assert len(lying_in(store.blobs, ledger_client, key)) == values[0].blobs
    assert list(store.items(values[0])) == LARGE


def test_what_is_deleted_is_gone_and_nothing_beside_it(store: PayloadStore, ledger_client: Redis, key: str) -> None:
    gone, stays = write(store, key, encode_items(LARGE)), write(store, f"{key}1", encode_items(LARGE))
    for _ in range(2):
        store.blobs.delete([gone.key, "never:there"])
    assert list(store.items(stays)) == LARGE
    assert len(lying_in(store.blobs, ledger_client, key)) == stays.blobs
    assert (store.blobs.keep(stays.key, ttl_s=60), store.blobs.keep(gone.key, ttl_s=60)) == (True, False)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_missing_blob_is_an_error_and_never_fewer_items(
    store: PayloadStore, ledger_client: Redis, key: str, number: int
) -> None:
    value = write(store, key, encode_items(LARGE))
    drop(store.blobs, ledger_client, key, number)
    with pytest.raises(PayloadError, match=rf"blob {number + 1} of 3 is gone from .*payload:r1:0:1.1 in "):
        list(store.items(value))


def flipped(blobs: Blobs, key: str) -> None:
    data = bytearray(blobs.get(key, 1) or b"")
    data[len(data) // 2] ^= 1
    blobs.put(key, 1, bytes(data), ttl_s=60)


def swapped(blobs: Blobs, key: str) -> None:
    first, second = blobs.get(key, 0), blobs.get(key, 1)
    assert first
    assert second
    blobs.put(key, 0, second, ttl_s=60)
    blobs.put(key, 1, first, ttl_s=60)


def cut_short(blobs: Blobs, key: str) -> None:
    blobs.put(key, 2, (blobs.get(key, 2) or b"")[:-1], ttl_s=60)


def empty(blobs: Blobs, key: str) -> None:
    """Cut short between two frames: no checksum shows that."""
    blobs.put(key, 2, b"", ttl_s=60)


def anothers(blobs: Blobs, key: str) -> None:
    """What another attempt has written, which may have the same items."""
    other = PayloadStore(blobs, inline_bytes=INLINE, ttl_s=60)
    write(other, f"{key}2", encode_items(LARGE))
    blobs.put(key, 1, blobs.get(f"{key}2", 1) or b"", ttl_s=60)


@pytest.mark.parametrize("damage", [flipped, swapped, cut_short, empty, anothers])
def test_damage_is_an_error_and_never_other_items(
    store: PayloadStore, key: str, damage: Callable[[Blobs, str], None]
) -> None:
    value = write(store, key, encode_items(LARGE))
    damage(store.blobs, key)
    found = []
    with pytest.raises(PayloadError, match="damaged"):
        for item in store.items(value):
            found.append(item)
    assert found == LARGE[: len(found)]


def test_what_is_stored_in_redis_expires(ledger_client: Redis, key: str) -> None:
    store = PayloadStore(RedisBlobs(lambda: nullcontext(ledger_client), "redis"), inline_bytes=INLINE, ttl_s=60)
    write(store, key, encode_items(LARGE))
    assert 0 < ledger_client.pttl(key) <= 60_000


def test_the_ledger_is_told_before_anything_is_written(store: PayloadStore, ledger_client: Redis, key: str) -> None:
    lay_there: list[int] = []
    writer = store.writer(key, lambda: lay_there.append(len(lying_in(store.blobs, ledger_client, key))))
    for chunk in encode_items(LARGE):
        writer.add(chunk)
    assert (writer.has_stored, lay_there) == (True, [0])


@pytest.mark.parametrize(
    ("cap", "named"),
    [
        (Cap(items=99, size_bytes=10**9, whose="run"), "99 items"),
        (Cap(items=10**9, size_bytes=10**6, whose="run"), "1,000,000 bytes"),
    ],
)
def test_a_value_over_its_cap_is_refused_as_soon_as_it_is(store: PayloadStore, key: str, cap: Cap, named: str) -> None:
    writer, given = store.writer(key, lambda: None, cap=cap), 0
    with pytest.raises(TooLarge, match=rf"more than the {named} that a run may have; .* set run_max_"):
        for chunk in encode_items(iter(LARGE)):
            given += 1
            writer.add(chunk)
    assert given * CHUNK_BYTES <= 10**6 + CHUNK_BYTES


# Places that can't be used ------------------------------------------------------------------------


def test_a_folder_that_can_not_be_written_to_is_said_to_be_away(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PayloadsUnavailable, match="can't be used: Not a directory"):
        FileBlobs(tmp_path / "file").put("a:b", 0, b"x", ttl_s=1)


def test_a_redis_that_is_away_is_said_to_be_away_without_its_password() -> None:
    blobs = blobs_at("redis://me:secret@127.0.0.1:1/0", 0)
    with pytest.raises(PayloadsUnavailable, match=r"payloads at redis://127.0.0.1:1/0 can't be used") as raised:
        blobs.get("a", 0)
    assert "secret" not in str(raised.value)


def test_a_bucket_that_is_not_there_is_no_missing_blob(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    blobs = in_bucket(s3_server.bucket("there").replace("there", "elsewhere"))
    for use in (lambda: blobs.put("a", 0, b"x", ttl_s=1), lambda: blobs.get("a", 0)):
        with pytest.raises(
            PayloadsUnavailable, match=r"s3://elsewhere/in/here can't be used: .*NoSuchBucket|not found"
        ):
            use()


@pytest.mark.parametrize(
    "url",
    [
        "s3://b/p?secret_access_key=hush",
        "s3://b/p?aws_session_token=hush",
        "s3://me:hush@b/p",
        "s3://b?aws_access_key_id=hush",
    ],
)
def test_a_secret_in_a_buckets_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="AWS_SECRET_ACCESS_KEY") as raised:
        in_bucket(url)
    assert "hush" not in str(raised.value)


def test_an_option_that_a_bucket_does_not_have_is_refused() -> None:
    with pytest.raises(SettingsError, match="can't be used"):
        in_bucket("s3://bucket?colour=red")


def test_a_process_that_will_fork_uses_a_bucket_in_another(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    url = s3_server.bucket("apart")
    blobs = blobs_at(url, 1, apart=True)
    assert isinstance(blobs, ApartBlobs)
    blobs.put("a:b", 0, b"x" * 100_000, ttl_s=1)
    assert in_bucket(url).get("a:b", 0) == blobs.get("a:b", 0) == b"x" * 100_000
    assert (blobs.get("a:b", 1), blobs.keep("a:b", ttl_s=1), blobs.keep("a:c", ttl_s=1)) == (None, True, False)
    blobs.delete(["a:b"])
    assert blobs.get("a:b", 0) is None
    with pytest.raises(PayloadsUnavailable, match=r"s3://elsewhere/in/here can't be used: ") as raised:
        blobs_at(url.replace("apart", "elsewhere"), 1, apart=True).put("a", 0, b"x", ttl_s=1)
    assert SECRETS["AWS_SECRET_ACCESS_KEY"] not in str(raised.value)


FORKS = """
import os, sys
from celery_collectors.errors import PayloadsUnavailable
from celery_collectors.payloads.object_blobs import in_bucket, in_memory

in_memory().put("a", 0, b"x", ttl_s=1)
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
for use in (lambda: in_memory().get("a", 0), lambda: in_bucket("s3://bucket?region=eu-central-1")):
    try:
        use()
    except PayloadsUnavailable as error:
        print(error, flush=True)
"""


def test_a_process_that_forked_too_late_is_told_so_instead_of_hanging() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=20, check=False)
    assert (ran.returncode, ran.stdout.count("forked from one that had used it")) == (0, 2), ran.stderr


def test_a_missing_obstore_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(SettingsError, match=r"pip install 'celery-collectors\[objects\]'"):
        in_bucket("s3://bucket")
