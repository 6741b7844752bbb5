"""Reading: reports, lists, events, and items by reference."""

from __future__ import annotations

import uuid

import pytest

from celery_collectors.errors import PayloadError, RequestUnknown
from celery_collectors.ledger import Order
from celery_collectors.ledger.reading import is_over
from celery_collectors.payloads import Value, encode_items, encode_result
from celery_collectors.payloads.codec import Chunk
from celery_collectors.payloads.frames import sealed
from tests.ledger.stores import write
from tests.ledger.world import World, run


def test_a_report_of_what_the_ledger_does_not_hold(world: World) -> None:
    with pytest.raises(RequestUnknown, match="holds no request 'nobody'"):
        world.reader.report("nobody")
    assert world.ledger.state("nobody") == "unknown"
    assert is_over(world.client, "nobody")


def test_whether_a_request_is_over_is_told_without_knowing_its_app(world: World) -> None:
    request_id = str(uuid.uuid4())  # others' keys are on this server, too
    world.open_as(request_id, "a")
    assert not is_over(world.client, request_id)
    world.ledger.cancel(request_id)
    assert is_over(world.client, request_id)


def test_the_result_is_what_process_returned(world: World) -> None:
    request_id = world.open("a", stages=["process"])
    world.collect(request_id, "0")
    grant = world.start(request_id, "process")
    value = Value(items=1, size=9, inline=sealed(Chunk(encode_result({"a": [1]}), 1))).to_bytes()
    world.ledger.settle(grant.held, "ok", value=value, items=1)
    report = world.reader.report(request_id)
    assert (report.result, report.is_final) == ({"a": [1]}, True)
    assert report.to_dict()["outcomes"]["a"]["state"] == "ok"


def test_outcomes_stand_in_the_order_asked(world: World) -> None:
    names = [f"c[{number}]" for number in range(23)]
    assert list(world.reader.report(world.open(*names)).outcomes) == names


def test_items_come_in_the_order_asked_wherever_they_are_stored(world: World) -> None:
    request_id = world.open("a", "b", "c")
    big = [f"{number:09}" for number in range(100)]
    world.succeed(world.start(request_id, "2"), ["last"])
    world.succeed(world.start(request_id, "0"), big)
    world.ledger.settle(world.start(request_id, "1").held, "empty")
    assert list(world.reader.items_before(request_id, "gathering")) == [*big, "last"]
    assert list(world.reader.results_of_runs(request_id)) == [big, ["last"]]


@pytest.mark.parametrize(
    ("value", "is_read"),
    [
        (Value(items=1, size=100, key="k", blobs=1), True),
        (Value(items=1, size=101, key="k", blobs=1), False),
        (Value(items=1_000, size=200, key="k", blobs=2), True),
        (Value(items=1_000, size=201, key="k", blobs=2), False),
        (Value(items=9, size=101, media="application/json", key="k", blobs=9), False),
    ],
)
def test_what_is_too_large_to_be_looked_at_is_not_read(world: World, value: Value, is_read: bool) -> None:
    if is_read:
        with pytest.raises(PayloadError, match="gone"):
            world.reader.first_items([value], 5, blob_bytes=100)
    else:
        assert world.reader.first_items([value], 5, blob_bytes=100) is None


def test_the_first_items_come_from_several_values_up_to_one_that_is_too_large(world: World) -> None:
    small = (Value(items=2, size=2, inline=sealed(*encode_items(pair))) for pair in ([1, 2], [3, 4]))
    values = [*small, Value(items=1, size=1_000, key="k", blobs=1)]
    assert world.reader.first_items(values, 3, blob_bytes=100) == [1, 2, 3]
    assert world.reader.first_items(values, 5, blob_bytes=100) == [1, 2, 3, 4]


def test_blobs_that_are_gone_are_said_to_be_gone(world: World) -> None:
    request_id = world.open("a")
    key = world.ledger.key("value", "mine")
    value = write(world.store, key, encode_items(["x" * 30_000] * 90))
    world.ledger.settle(world.start(request_id).held, "ok", value=value.to_bytes(), items=90)
    world.client.hdel(key, "1")
    found = world.reader.items_of(request_id, ["0"])
    assert [next(found) for _ in range(30)] == ["x" * 30_000] * 30
    with pytest.raises(PayloadError, match="blob 2 of 3 is gone"):
        list(found)


@pytest.mark.parametrize("size", [1, 7, 50])
def test_pages_hold_every_request_once_newest_first_also_of_one_millisecond(world: World, size: int) -> None:
    opened = []
    for burst in range(3):
        opened += [world.open("a") for _ in range(120 if burst == 1 else 5)]
        world.clock.forward(1)
    found, cursor = [], None
    while True:
        page = world.reader.page(size, cursor)
        found += page.requests
        if page.cursor is None:
            break
        cursor = page.cursor
    assert len(page.requests) <= size
    assert sorted(line.request_id for line in found) == sorted(opened)
    assert [line.created_at for line in found] == sorted((line.created_at for line in found), reverse=True)


def test_a_line_of_the_list(world: World) -> None:
    request_id = world.open("a", "b", "c")
    world.collect(request_id, "0")
    world.fail(world.start(request_id, "1"))
    (line,) = world.reader.page().requests
    assert (line.request_id, line.topic, line.state, line.runs, line.open, line.missing) == (
        request_id, "python", "collecting", 3, 1, 1,
    )  # fmt: skip
    assert line.finished_at is None


def test_events_tell_the_whole_story_in_order_and_go_on_from_an_id(world: World) -> None:
    request_id = world.open(run("a", retries=1), "b", stages=["process"])
    world.fail(world.start(request_id, "0"))
    world.watch(2)
    half = world.reader.events(request_id)
    world.collect(request_id, "0", "1", "process")
    events = world.reader.events(request_id)
    assert [(event.subject, event.name, event.state, event.attempt) for event in events] == [
        ("request", "python", "collecting", 0),
        ("run", "a", "running", 1),
        ("run", "a", "retrying", 1),
        ("run", "a", "queued", 1),
        ("run", "a", "running", 2),
        ("run", "a", "ok", 2),
        ("run", "b", "running", 1),
        ("run", "b", "ok", 1),
        ("request", "python", "processing", 0),
        ("stage", "process", "running", 1),
        ("stage", "process", "ok", 1),
        ("request", "python", "complete", 0),
    ]
    assert events[2].error is not None
    assert events[2].delay_s is not None
    assert 0.5 <= events[2].delay_s <= 1
    assert world.reader.events(request_id, half[-1].id) == events[len(half) :]
    assert world.reader.events(request_id, events[-1].id, block_s=0.001) == []
    assert (world.ledger.last_event_id(request_id), world.ledger.last_event_id("nobody")) == (events[-1].id, "0-0")


def test_priorities_have_waiting_lists_of_their_own(world: World) -> None:
    request_id = world.open("a", priority="high")
    world.published(request_id, "0")
    assert (world.waiting(request_id, "normal"), world.waiting(request_id, "high")) == ({}, {"0": 0})
    order = world.full_order(request_id, "0")
    assert isinstance(order, Order)
    assert world.start(request_id).go
