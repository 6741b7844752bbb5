"""Contenders that take turns: round after round, the next one begins with the next contender."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contender import Contender, Flow, TooSlow, running
from benchmarks.running import say
from benchmarks.servers import Servers, servers

Turn = Callable[[Contender], dict[str, Any]]
Rounds = Mapping[str, Sequence[Mapping[str, Any]]]
"""By contender, what each of its turns found."""


@contextmanager
def folder_and_servers(contenders: int) -> Iterator[tuple[Path, Servers]]:
    """What contenders share; it goes when the block ends."""
    with ExitStack() as stack:
        both = stack.enter_context(servers(contenders))
        yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cc-bench-"))), both


def take_turns(
    flows: Sequence[Flow], warm_up: Turn, turn: Turn, *, rounds: int, ends_at: float
) -> tuple[Rounds, Mapping[str, str]]:
    """Start all contenders, warm each up once, and let each have its turn in every round that there is time for.

    Returns:
        What they found, and the servers' versions.

    Raises:
        TooSlow: when there was not even time for one round.
    """
    with folder_and_servers(len(flows)) as (folder, both), ExitStack() as stack:
        started = [
            stack.enter_context(running(flow, both, number=number, folder=folder)) for number, flow in enumerate(flows)
        ]
        for contender in started:
            warm_up(contender)
        return in_rounds(started, turn, rounds=rounds, ends_at=ends_at), both.versions()


def in_rounds(
    contenders: Sequence[Any], turn: Callable[[Any], Mapping[str, Any]], *, rounds: int, ends_at: float
) -> dict[str, list[Mapping[str, Any]]]:
    """By name, what each one's turns found; a round that there was no time for does not count.

    Raises:
        TooSlow: when that was the first.
    """
    found: dict[str, list[Mapping[str, Any]]] = {one.name: [] for one in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        try:
            if time.monotonic() > ends_at:
                raise TooSlow(f"round {number + 1} of {rounds} had not begun when the time was over")
            one_round = {one.name: turn(one) for one in (*contenders[first:], *contenders[:first])}
        except TooSlow as error:
            if not number:
                raise
            say(f"not counted: {error}")
            break
        for name, mine in one_round.items():
            found[name].append(mine)
            say(f"  round {number + 1}, {name}: {summary(mine)}")
    return found


def summary(found: Mapping[str, Any]) -> str:
    """The plain numbers among what was found, in one line.

    >>> summary({"took_s": 1.234, "cpu_s": 2.0, "all": [1, 2]})
    'took_s 1.23, cpu_s 2.00'
    """
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items() if isinstance(value, float))
