"""Each law of ``laws.py`` is broken by a script that was broken on purpose: a law that nothing breaks says nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
from redis import Redis

from celery_collectors.ledger import scripts
from celery_collectors.model import Policy
from tests.ledger import laws
from tests.ledger.test_retry import partial
from tests.ledger.watched import Watched
from tests.ledger.world import link, run


class Breach(msgspec.Struct, frozen=True):
    """How a law is broken: what is replaced in the scripts, and what happens then."""

    changes: tuple[tuple[str, str], ...]
    scenario: Callable[[Watched], object]


def breach(scenario: Callable[[Watched], object], *changes: tuple[str, str]) -> Breach:
    return Breach(changes, scenario)


def retried(world: Watched) -> None:
    request_id = partial(world, stages=["process"])
    world.collect(request_id, "process")
    (order,) = world.retry(request_id, "1")
    world.succeed(world.start_again(order))
    world.succeed(world.start(request_id, "process", generation=2))


def first_of_two(world: Watched) -> None:
    world.collect(world.open("a", "b", policy=Policy(first=1)), "0")


def expires_later(world: Watched) -> None:
    world.open(run("a", expires_ms=40_000))
    world.watch(20)


def crashes(world: Watched) -> None:
    request_id = world.open("a")
    for _ in range(4):
        if world.start(request_id).go:
            world.ledger.died(world.order(request_id, "0"), "p1")


def cancelled(world: Watched) -> None:
    request_id = world.open("a", links=[link("link_error")], calls={"link_error:0": "c"})
    world.ledger.cancel(request_id)


def complete(world: Watched) -> None:
    world.collect(world.open("a"), "0")


def retried_though_complete(world: Watched) -> None:
    request_id = world.open("a")
    world.collect(request_id, "0")
    list(world.ledger.retry(request_id, ["0"], generation=1, token="t", deadline_s=9, finish_s=9))


def answered_twice(world: Watched) -> None:
    request_id = world.open("a", "b")
    slow = world.start(request_id, process="gone")
    world.watch(25)
    world.succeed(world.start(request_id))
    world.succeed(slow)


def started_twice(world: Watched) -> None:
    request_id = world.open("a")
    world.start(request_id, process="p1")
    world.start(request_id, process="p2")


def once(world: Watched) -> None:
    request_id = world.open(run("a", once=True))
    world.start(request_id)
    world.ledger.died(world.order(request_id, "0"), "p1")


def started_after_a_cancel(world: Watched) -> None:
    request_id = world.open("a", "b", "c")
    world.ledger.cancel(request_id)
    world.start(request_id, "2")


END = "due_no_more(member(head.id, ref))\n  waits_no_more(head, ref, rec)\nend"
BREACHES = {
    "counters_recount": breach(retried, ("    open = head.open + 1,\n", "")),
    "state_follows_policy": breach(
        first_of_two, ("return head.first ~= nil and head.answered >= head.first", "return false")
    ),
    "stages_only_after_all_runs": breach(retried, ("drop_recs(head.id, stale)", "")),
    "reasons_are_true": breach(
        expires_later,
        ("rec.state == 'queued' and NOW >= (rec.expires_at or math.huge)", "rec.expires_at"),
        ("NOW + math.min(delay or to_publish(ref),", "NOW + math.min(0,"),
    ),
    "nothing_is_stuck": breach(
        retried, ("  unset_head(head, 'again')\n  set_timer(head)\n", "  unset_head(head, 'again')\n")
    ),
    "caps_hold": breach(crashes, ("if rec.crashes < cap and not rec.once then", "if not rec.once then")),
    "values_belong_to_answers": breach(retried, ("redis.call('HDEL', key('values', head.id), unpack(stale))", "")),
    "what_follows_fits_the_end": breach(cancelled, ("or state == 'failed' and 'link_error'", "or 'link_error'")),
    "nothing_is_left_of_the_ended": breach(complete, (END, "end")),
    "lifetimes_fit": breach(retried, ("do redis.call('PERSIST', key(kind, head.id)) end", "do end")),
    "states_follow_the_table": breach(
        retried_though_complete,
        ("if not follows(REQUEST_NEXT, head.state, 'collecting') then return refuse('state') end", ""),
        ("reopen(head, reply)\nreply.state, ", "reply.state, "),
    ),
    "generations_count_up": breach(
        retried, ("generation = head.generation + 1, tried_by", "generation = head.generation, tried_by")
    ),
    "answers_stay": breach(
        answered_twice,
        ("or RUN_ENDED[rec.state]\n    or (rec.step or 0) ~=", "or (rec.step or 0) ~="),
        ("if not follows(RUN_NEXT, rec.state, to) then", "if false then"),
    ),
    "attempts_count_up": breach(complete, ("rec.attempt = rec.attempt + 1", "rec.attempt = rec.attempt + 2")),
    "one_process_has_it": breach(
        started_twice,
        (
            "if rec.state == 'running' and rec.token ~= A.token then return 'leased' end",
            "if rec.state == 'running' then rec.owner = A.owner put_rec(head.id, ref, rec) end",
        ),
    ),
    "what_runs_once_runs_once": breach(
        once, ("if rec.crashes < cap and not rec.once then", "if rec.crashes < cap then")
    ),
    "nothing_starts_after_the_end": breach(
        started_after_a_cancel,
        ("local CLOSE_AT_ONCE = 500", "local CLOSE_AT_ONCE = 1"),
        ("if REQUEST_ENDED[head.state] and not is_link(ref) then", "if false then"),
        ("if head.state ~= 'collecting' or head.closing then return 'settled' end", ""),
    ),
}


def test_every_law_has_something_that_breaks_it() -> None:
    assert BREACHES.keys() == laws.LAWS


@pytest.mark.parametrize("law", sorted(BREACHES))
def test_it_is_broken_and_noticed(law: str, ledger_client: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breach = BREACHES[law]
    world = Watched(ledger_client, f"{prefix}.as-it-is")
    breach.scenario(world)
    assert world.broken == set(), "the scripts as they are keep every law"
    read = scripts.source
    for old, _ in breach.changes:
        assert any(old in read(name) for name in VERBS), f"the scripts have changed: {old}"
    monkeypatch.setattr(scripts, "source", lambda name: _changed(read(name), breach))
    world = Watched(ledger_client, prefix)
    with suppress(Exception):  # a broken script may also raise, or let the scenario's own calls fail
        breach.scenario(world)
    assert law in world.broken


VERBS = ("open", "start", "settle", "advance", "claim", "cancel", "died", "retry")


def _changed(source: str, breach: Breach) -> str:
    for old, new in breach.changes:
        source = source.replace(old, new)
    return source
