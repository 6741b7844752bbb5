"""Backlog is not loss: what waits its turn is left alone, what was lost comes again within 90 seconds."""

from __future__ import annotations

from collections import deque

from celery_collectors.ledger import Order
from tests.ledger.world import QUEUE, World, lost_stamps, run

MESSAGE_S = 0.05


class Fleet:
    """A broker's queue, one worker that takes from its head, and a sweeper; time moves by their work."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.queue: deque[Order] = deque()
        self.marks: dict[str, float] = {}
        self.extra: list[Order] = []
        self.idle_s = 0.0

    def submit(self, runs: int, *, lose: tuple[int, ...] = ()) -> str:
        """Open a request and publish it in batches, which takes time; some messages get lost."""
        long = {"timeout_ms": 600_000}
        request_id = self.world.open(*(run(f"c[{n}]", **long) for n in range(runs)), deadline_s=36_000)
        orders = [self.world.full_order(request_id, str(number)) for number in range(runs)]
        for start in range(0, runs, 500):
            batch = orders[start : start + 500]
            self.queue += [order for order in batch if int(order.ref) not in lose]
            self.world.clock.forward(len(batch) * 0.001)
            self.world.ledger.published(batch)
        return request_id

    def work(self, seconds: float, *, each_s: float = 1.0, sweep_every_s: float = 5.0) -> int:
        """Let the worker take one run after another; return how many it did."""
        done, end, next_sweep = 0, self.world.clock() + seconds * 1000, self.world.clock()
        while self.world.clock() < end:
            done += self._take()
            self.world.clock.forward(each_s)
            if self.world.clock() >= next_sweep:
                next_sweep = self.world.clock() + sweep_every_s * 1000
                self._sweep()
        return done

    def _take(self) -> int:
        if not self.queue:
            self.idle_s += 1
            return 0
        self.idle_s = 0
        order = self.queue.popleft()
        grant = self.world.ledger.start(order, owner="p1", worker="w", token=f"{self.world.clock()}")
        if grant.go:
            self.world.ledger.settle(grant.held, "empty")
        return int(grant.go)

    def _sweep(self) -> None:
        idle_s = self.idle_s or None
        now, beats = self.world.ledger.beat("w", queues=[QUEUE], pool="threads", processes=1, idle_s=idle_s)
        for shard in self.world.ledger.shards:
            reply = self.world.ledger.claim(shard, sweeper="s", lost=lost_stamps(self.marks, beats, now))
            for key, stamp in reply.marks.items():
                self.marks[key] = max(self.marks.get(key, 0), stamp)
            self.extra += reply.orders
            self.queue += reply.orders
            self.world.ledger.published(reply.orders)


def test_ten_thousand_runs_behind_a_slow_worker_cause_no_extra_messages(world: World) -> None:
    fleet = Fleet(world)
    for _ in range(10):
        fleet.submit(1000)
        fleet.work(5)
    done = fleet.work(1000)
    assert done == 1000, "the queue keeps moving"
    assert len(fleet.extra) < 100, "less than 1 % of 10,000"


def test_an_early_copy_of_a_run_that_was_handed_out_anew_says_nothing_about_the_rest(world: World) -> None:
    fleet = Fleet(world)
    again = fleet.submit(1)
    fleet.submit(400)
    world.clock.forward(20)
    first_copy = fleet.queue.popleft()
    grant = world.ledger.start(first_copy, owner="dead", worker="w", token="t")
    world.clock.forward(40)
    (order,) = world.ledger.died(world.order(again, "0"), "dead").orders
    world.ledger.published([order])
    fleet.queue.appendleft(first_copy)  # the broker delivers what the dead process had not acknowledged
    fleet.queue.append(order)
    fleet.work(100)
    assert grant.go
    assert fleet.extra == []


def test_a_lost_message_comes_again_once_the_queue_has_moved_past_it(world: World) -> None:
    fleet = Fleet(world)
    request_id = fleet.submit(1, lose=(0,))
    for _ in range(17):
        world.clock.forward(0.5)
        fleet.submit(5)
        fleet.work(5, each_s=1)
    assert fleet.idle_s == 0
    assert [order.request_id for order in fleet.extra] == [request_id]
    assert len(fleet.queue) < 10, "other work went on"


def test_a_lost_message_comes_again_also_if_every_start_outruns_its_confirmation(world: World) -> None:
    lost = world.open(run("lost"), deadline_s=300)
    world.published(lost, "0")
    marks: dict[str, float] = {}
    extra: list[str] = []
    for _ in range(90):
        world.clock.forward(1)
        quick = world.open("a")
        world.collect(quick, "0")
        for shard in world.ledger.shards:
            reply = world.ledger.claim(shard, sweeper="s", lost=marks)
            extra += [order.request_id for order in reply.orders]
            for key, stamp in reply.marks.items():
                marks[key] = max(marks.get(key, 0), stamp)
    assert extra[:1] == [lost]


def test_a_lost_message_comes_again_when_a_worker_sat_idle(world: World) -> None:
    fleet = Fleet(world)
    request_id = fleet.submit(3, lose=(1,))
    assert fleet.work(90) == 3
    assert [(order.request_id, order.ref) for order in fleet.extra] == [(request_id, "1")]
    assert world.state(request_id) == "complete"


def test_a_worker_of_another_queue_that_sits_idle_proves_nothing(world: World) -> None:
    request_id = world.open("a", deadline_s=300)
    world.published(request_id, "0")
    world.clock.forward(60)
    now, beats = world.ledger.beat("w", queues=["other"], pool="threads", processes=1, idle_s=50)
    assert world.sweep(lost_stamps({}, beats, now)) == []


def test_what_is_lost_is_handed_out_under_the_same_delivery(world: World) -> None:
    request_id = world.open("a", deadline_s=300)
    world.published(request_id, "0")
    world.clock.forward(60)
    (order,) = world.sweep({f"{QUEUE}:normal": world.clock()})
    assert (order.delivery, world.waiting(request_id)) == (1, {})
    assert world.start(request_id).go, "whichever copy comes first"


def test_only_what_was_published_before_the_stamp_is_lost(world: World) -> None:
    first, second = world.open("a"), world.open("a")
    world.published(first, "0")
    stamp = world.clock() + 1
    world.clock.forward(0.001)
    world.published(second, "0")
    assert [order.request_id for order in world.sweep({f"{QUEUE}:normal": stamp})] == [first]


def test_a_mark_counts_only_after_a_while(world: World) -> None:
    fleet = Fleet(world)
    for _ in range(8):
        fleet.submit(2)
    fleet.queue.rotate(-10)  # taken by a worker that prefetches, but has not come to them yet
    fleet.work(5, each_s=0.1)
    assert fleet.extra == []
    assert set(fleet.marks.values()) <= {0}


def test_a_client_that_is_slow_with_a_wide_request_is_not_overtaken(world: World) -> None:
    """10,000 messages took 43 s on a machine with eight other programs, and each was sent twice meanwhile."""
    request_id = world.open(*(f"c{number}" for number in range(2000)), deadline_s=300)
    for first in range(0, 2000, 500):
        assert world.watch(5, every=5) == []
        world.published(request_id, *map(str, range(first, first + 500)))
    assert world.watch(20, every=5) == [], "also the last has been confirmed"
    assert len(world.waiting(request_id)) == 2000


def test_what_a_client_did_not_send_comes_in_its_order(world: World) -> None:
    world.open(*(f"c{number}" for number in range(1000)), deadline_s=300)
    assert world.watch(14, every=7) == []
    assert {int(order.ref) for order in world.watch(2)} == set(range(500))
    assert {int(order.ref) for order in world.watch(3)} == set(range(500, 1000))
