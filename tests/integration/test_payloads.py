"""Large values on real workers, in each kind of store: they arrive, and nothing is left of what nobody needs."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from celery_collectors.ledger import Held
from tests.integration.conftest import until
from tests.integration.payload_app import rows
from tests.integration.payload_world import Payloads, payloads_in, world
from tests.servers.proxy import Proxy
from tests.servers.s3 import SECRETS
from tests.servers.server import Server

__all__ = ["world"]  # a fixture

COUNT = 1500  # kilobytes, of each run


def test_large_values_go_through_all_stages(world: Payloads) -> None:
    world.worker()
    request = world.collectors.request(f"rows {COUNT}", deadline=40)
    report = request.wait()
    assert (report.state, report.result) == ("complete", 3 * COUNT), world.logs()
    assert list(request.items()) == [row for _ in range(3) for row in rows(COUNT)]
    assert len(world.stored()) == 3 * 2 + 5
    assert SECRETS["AWS_SECRET_ACCESS_KEY"] not in world.logs()


def test_of_a_failed_and_of_a_cancelled_attempt_nothing_is_left(world: Payloads) -> None:
    """At once: each says so itself, and need not be found."""
    world.worker(COLLECTORS_LEASE_S="60")
    report = world.collectors.request(f"rows {COUNT} raises", deadline=40, only=["first"]).wait()
    assert report.outcomes["first"].error.message == "reset by peer", world.logs()
    until(lambda: world.stored() == [], "what the failed attempt stored is gone")
    request = world.collectors.request(f"rows {COUNT} stuck", deadline=40, only=["first"])
    until(lambda: world.noted("stuck") and world.stored(), "it has stored some")
    request.cancel()
    until(lambda: world.stored() == [], "what the cancelled attempt stored is gone")


def test_of_an_attempt_that_is_killed_in_the_middle_of_writing_nothing_is_left(world: Payloads) -> None:
    """Neither of its process alone, nor of its whole worker; and the second attempt's stays."""
    first = world.worker()
    report = world.collectors.request(f"rows {COUNT} dies", deadline=40, only=["first"]).wait()
    assert (report.state, report.outcomes["first"].attempts) == ("complete", 2), world.logs()
    until(lambda: len(world.stored()) == 4, f"only what is pointed to is left, not {world.stored()}")
    request = world.collectors.request(f"rows {COUNT} waits", deadline=40, only=["first"])
    until(lambda: world.noted("waits") and len(world.stored()) > 4, "it has stored some")
    for child in psutil.Process(first.pid).children(recursive=True):
        os.kill(child.pid, signal.SIGKILL)
    first.kill()
    world.worker()
    (world.notes / "gate").touch()
    assert request.wait().outcomes["first"].attempts == 2
    until(lambda: len(world.stored()) == 8, f"only what is pointed to is left, not {world.stored()}")


def test_of_an_attempt_that_lost_nothing_is_left(world: Payloads) -> None:
    """It was suspended so long that another had its place; it goes on, writes, and comes too late."""
    first = world.worker(concurrency=1)
    request = world.collectors.request(f"rows {COUNT} waits", deadline=40, only=["first"])
    until(lambda: world.noted("waits") and world.stored(), "it has stored some")
    family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    world.worker(concurrency=1)
    (world.notes / "gate").touch()
    report = request.wait()
    assert (report.state, report.outcomes["first"].attempts) == ("complete", 2), world.logs()
    for process in family:
        process.resume()
    until(lambda: "came too late" in world.logs() or "stopped" in world.logs(), "the first has seen that it lost")
    until(lambda: len(world.stored()) == 4, f"only what is pointed to is left, not {world.stored()}")
    assert sum(1 for _ in request.items()) == COUNT


def test_a_request_that_is_over_its_time_takes_everything_with_it(world: Payloads) -> None:
    world.worker(COLLECTORS_RESULT_TTL_S="1")
    world.collectors.configure(ledger=world.ledger_url, result_ttl_s=1)
    try:
        request = world.collectors.request(f"rows {COUNT}", deadline=40)
        assert request.wait().state == "complete"
        until(lambda: world.stored() == [] and request.state == "unknown", "its time is over")
    finally:
        world.collectors.configure(result_ttl_s=None)


def test_what_can_not_be_stored_names_the_collector_and_the_type(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with payloads_in(None, ledger_url, tmp_path, monkeypatch) as world:
        world.worker("threads", 1)
        error = world.collectors.request("unfit", deadline=30).wait().outcomes["unfit"].error
        assert error.message.startswith("item 1 of unfit (object) can't be stored: "), error
        assert (error.type, error.kind, error.retryable) == ("BadItems", "config", False)


def test_a_store_that_is_away_is_not_the_collectors_fault(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes again though it has no retries, and is answered when the store is back."""
    folder = tmp_path / "payloads"
    folder.touch()  # a file, where nobody can make a folder
    with payloads_in(f"file://{folder}", ledger_url, tmp_path, monkeypatch) as world:
        world.worker()
        request = world.collectors.request(f"rows {COUNT}", deadline=40, only=["first", "third"])
        until(lambda: {one.state for one in request.report().outcomes.values()} == {"retrying"}, "both wait")
        error = request.report().outcomes["first"].error
        assert (error.type, error.kind, error.retryable) == ("PayloadsUnavailable", "system", True)
        folder.unlink()
        assert request.wait().state == "complete", world.logs()


def test_a_run_over_its_cap_fails_and_its_source_is_asked_no_more(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with payloads_in(f"file://{tmp_path}/payloads", ledger_url, tmp_path, monkeypatch) as world:
        world.worker(COLLECTORS_RUN_MAX_BYTES="2000000")
        report = world.collectors.request("rows 100000000", deadline=40, only=["first", "third"]).wait()
        for name in ("first", "third"):
            error = report.outcomes[name].error
            assert (error.type, error.kind, error.retryable) == ("TooLarge", "config", False), error
            assert "2,000,000 bytes" in error.message
            assert "COLLECTORS_RUN_MAX_BYTES" in error.message
        until(lambda: world.stored() == [], "nothing of them is left")


def test_a_store_that_does_not_answer_holds_no_sweep_up(
    redis_server: Server, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis of its own, through a network that goes silent while something is to be removed there."""
    proxy = Proxy(urlsplit(redis_server.url).port or 6379)
    elsewhere = f"redis://127.0.0.1:{proxy.port}/3"
    with payloads_in(elsewhere, ledger_url, tmp_path, monkeypatch) as world:
        world.worker(concurrency=3)
        assert world.collectors.request(f"rows {COUNT}", deadline=40).wait().result == 3 * COUNT, world.logs()
        assert not any(b":payload:" in key for key in world.client.scan_iter()), "they lie elsewhere"
        proxy.silent.set()
        ledger = world.collectors.client.ledger
        for attempt in range(1, 4):  # on several shards
            held = Held(request_id=str(uuid.uuid4()), ref="0", generation=1, attempt=attempt)
            ledger.note_unwanted(held)
        until(lambda: proxy.stopped and handed_out(world), "the remover waits for an answer")
        began = time.monotonic()
        report = world.collectors.request("rows 0 stuck", deadline=2, only=["first"]).wait()
        assert (str(report.outcomes["first"].state), time.monotonic() - began < 5) == ("timed_out", True)
        proxy.cut()
        until(lambda: not handed_out(world), "all is removed in the end")


def handed_out(world: Payloads) -> list[bytes]:
    """What is to be removed, and not yet said to be."""
    shards = world.collectors.client.ledger.shards
    entries = [entry for shard in shards for entry in world.client.zrange(f"{shard}:stored", 0, -1)]
    return [entry for entry in entries if entry.startswith(b"!") and not entry.startswith(b"!!")]
