"""Which runs a retry is about: what failed and can be helped, what is left, what is refused and why."""

from __future__ import annotations

import pytest

from celery_collectors.errors import RefusedError
from celery_collectors.ledger.choice import choose
from celery_collectors.model import ErrorInfo, Policy
from tests.ledger.test_retry import partial
from tests.ledger.world import World, run, stage

CONFIG = ErrorInfo(type="PermanentError", kind="config", message="no key", retryable=False)


def test_failed_covers_what_was_skipped_because_of_it(world: World) -> None:
    request_id = world.open("a", "b", "c", policy=Policy(min_ok=3))
    world.fail(world.start(request_id, "0"))
    ended = world.reader.ended(request_id)
    assert choose(ended, "failed", force=False).refs == ["0", "1", "2"]
    with pytest.raises(RefusedError, match="would fail again: min_ok asks for 3"):
        choose(ended, "a", force=False)


def test_what_was_enough_stays_enough(world: World) -> None:
    request_id = world.open("a", "b", "c", policy=Policy(first=1))
    world.fail(world.start(request_id, "0"))
    world.collect(request_id, "1")
    assert world.state(request_id) == "partial"
    for only in ("failed", "a"):
        with pytest.raises(RefusedError, match="first=1 have answered"):
            choose(world.reader.ended(request_id), only, force=False)


def test_what_trying_again_can_not_help_is_left_or_refused_with_that_reason(world: World) -> None:
    request_id = partial(world, "c")
    grant = world.start(request_id, "2")
    world.ledger.settle(grant.held, "failed", error=CONFIG)
    ended = world.reader.ended(request_id)
    assert (choose(ended, "failed", force=False).refs, choose(ended, "failed", force=False).left) == (["1"], ["c"])
    assert choose(ended, "failed", force=True).refs == ["1", "2"]
    with pytest.raises(RefusedError, match="trying c again can't help: PermanentError: no key"):
        choose(ended, ["b", "c"], force=False)
    assert choose(ended, "c", force=True).refs == ["2"]


def test_if_nothing_can_be_helped_it_is_refused_with_the_reasons(world: World) -> None:
    request_id = world.open("a", "b")
    world.collect(request_id, "0")
    world.ledger.settle(world.start(request_id, "1").held, "failed", error=CONFIG)
    with pytest.raises(RefusedError, match="can't help b: PermanentError: no key"):
        choose(world.reader.ended(request_id), "failed", force=False)


def test_what_a_policy_needs_and_can_not_be_helped_is_named(world: World) -> None:
    request_id = world.open("a", run("b", required=True))
    world.fail(world.start(request_id, "0"))
    world.ledger.settle(world.start(request_id, "1").held, "failed", error=CONFIG)
    with pytest.raises(RefusedError, match="would fail again: b is required, and trying again can't help b"):
        choose(world.reader.ended(request_id), "failed", force=False)


def test_a_stage_with_a_slip_in_its_code_is_refused_with_that_reason(world: World) -> None:
    request_id = world.open("a", stages=[stage("process", retries=0)])
    world.collect(request_id, "0")
    world.ledger.settle(world.start(request_id, "process").held, "failed", error=CONFIG)
    with pytest.raises(RefusedError, match="can't help: PermanentError: no key"):
        choose(world.reader.ended(request_id), "failed", force=False)
    assert choose(world.reader.ended(request_id), "failed", force=True).refs == []


def test_what_has_answered_is_not_asked_again(world: World) -> None:
    ended = world.reader.ended(partial(world))
    with pytest.raises(RefusedError, match=r"a has answered \(ok\)"):
        choose(ended, "a", force=True)
    with pytest.raises(RefusedError, match="has no run 'x'; it has a, b"):
        choose(ended, ["x"], force=False)
    with pytest.raises(RefusedError, match="only names no run; leave it out for all that failed, or name some of a, b"):
        choose(ended, [], force=False)


def test_a_run_named_twice_runs_once(world: World) -> None:
    request_id = partial(world)
    choice = choose(world.reader.ended(request_id), ["b", "b"], force=False)
    assert choice.refs == ["1"]
