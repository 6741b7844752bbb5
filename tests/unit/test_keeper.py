"""The keeper outlives whatever one renewal meets, and knows whether something goes alone here.

A process whose keeper died would lose every later run.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from celery_collectors.errors import LedgerUnavailable
from celery_collectors.ledger import Grant, Held
from celery_collectors.worker.keeper import Keeper


class Ledger:
    """One whose first answer is an error of the server's that nobody foresaw."""

    def __init__(self) -> None:
        self.calls = 0
        self.renewed = threading.Event()

    def renew(self, _owner: str, _held: Any) -> list[Any]:
        """Renew, from the second call on."""
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("BUSY a script is running")
        self.renewed.set()
        return []


def test_an_unforeseen_error_does_not_end_it() -> None:
    ledger: Any = Ledger()
    keeper = Keeper(ledger, "me", renew_s=0.01)
    keeper.hold(Held(request_id="r", ref="0", generation=1, attempt=1), lambda _: None)
    assert ledger.renewed.wait(5)


def granted(ref: str, *, go: bool = True, alone: bool = True, ends_in_ms: float = 60_000) -> Grant:
    return Grant(go=go, request_id="r", ref=ref, generation=1, attempt=3, alone=alone, ends_in_ms=ends_in_ms)


def fetch(keeper: Keeper, grant: Grant) -> bool:
    """Fetch something; return whether the ledger was told that nothing here goes alone."""
    told: list[bool] = []
    assert keeper.fetch(lambda alone: told.append(alone) or grant) is grant
    return told[0]


def test_what_goes_alone_keeps_others_out_until_it_is_dropped() -> None:
    keeper = Keeper(Ledger(), "me", renew_s=60)
    first = granted("0")
    assert fetch(keeper, first)
    assert not fetch(keeper, granted("1", go=False))
    keeper.drop(granted("2").held)
    assert not fetch(keeper, granted("1", go=False)), "what was dropped was another"
    keeper.drop(first.held)
    assert fetch(keeper, granted("1"))


@pytest.mark.parametrize("grant", [granted("0", go=False), granted("0", alone=False)])
def test_what_was_refused_or_goes_in_company_keeps_nobody_out(grant: Grant) -> None:
    keeper = Keeper(Ledger(), "me", renew_s=60)
    assert fetch(keeper, grant)
    assert fetch(keeper, granted("1"))


def test_a_ledger_that_is_away_keeps_nobody_out() -> None:
    keeper = Keeper(Ledger(), "me", renew_s=60)

    def away(_: bool) -> Grant:
        raise LedgerUnavailable("away")

    with pytest.raises(LedgerUnavailable):
        keeper.fetch(away)
    assert fetch(keeper, granted("1"))


def test_two_that_ask_at_the_same_time_are_not_both_told_that_nothing_is_there() -> None:
    keeper = Keeper(Ledger(), "me", renew_s=60)
    told: list[bool] = []

    def ask(alone: bool) -> Grant:
        told.append(alone)
        if len(told) == 1:
            keeper.fetch(ask)
        return granted(str(len(told)), go=alone)

    keeper.fetch(ask)
    assert told == [True, False]


@pytest.mark.parametrize(("reason", "then"), [("goes alone", [False, True]), ("settled", [False])])
def test_what_is_refused_only_because_others_ask_asks_again(reason: str, then: list[bool]) -> None:
    """Where much is to be done somebody always asks: it would be put off until its deadline."""
    keeper = Keeper(Ledger(), "me", renew_s=60)
    told: list[bool] = []
    refused = threading.Event()

    def ask_late(alone: bool) -> Grant:
        told.append(alone)
        refused.set()
        return granted("late") if alone else Grant(go=False, reason=reason)

    with ThreadPoolExecutor(1) as other:
        late: list[Future[Grant]] = []

        def ask(_: bool) -> Grant:
            late.append(other.submit(keeper.fetch, ask_late))
            assert refused.wait(5)
            return granted("0", alone=False)

        keeper.fetch(ask)
        came = late[0].result(5)
    assert told == then
    assert fetch(keeper, granted("1", go=False)) is not came.go


def test_what_is_refused_beside_one_that_goes_alone_does_not_ask_again() -> None:
    keeper = Keeper(Ledger(), "me", renew_s=60)
    fetch(keeper, granted("0"))
    told: list[bool] = []
    refusal = Grant(go=False, reason="goes alone")
    assert keeper.fetch(lambda alone: told.append(alone) or refusal) is refusal
    assert told == [False]


def test_nothing_keeps_others_out_beyond_its_time() -> None:
    """As where its thread can't be ended, or it never came to be run."""
    keeper = Keeper(Ledger(), "me", renew_s=60)
    over = granted("0", ends_in_ms=0)
    assert fetch(keeper, over)
    assert fetch(keeper, granted("1"))
    keeper.drop(over.held)
    assert not fetch(keeper, granted("2", go=False)), "what was dropped has no turn any more"
