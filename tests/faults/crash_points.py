"""Named points at which a process is killed by SIGKILL, put into the product from outside by wrapping its functions.

The environment says which point, who dies there, and where it is noted, so that it strikes once over all processes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal

from celery.worker.request import Request

from celery_collectors.dispatch import HEADER, Dispatcher
from celery_collectors.ledger import Ledger, Order
from celery_collectors.payloads import PayloadWriter
from celery_collectors.plan import Pack

POINT, WHO, FOLDER = "CRASH_POINT", "CRASH_WHO", "CRASH_FOLDER"
STRUCK, ARMED = "struck", "armed"
FIRST_PID = os.getpid()  # of a worker: its main process, of which the children of a prefork pool are forks

Who = Literal["child", "worker", "client"]
Call = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a process dies.

    Attributes:
        of, name: The class and its method that is wrapped; none where the app's own code asks.
        after: Whether it has returned.
        when: Whether this is the call, by its positional arguments and what it returned.
        again: Whose functions are called once more for it, because nobody has heard of what they did.
        beside: Whether the thread or process that meets it is not the one that executes, which is further by then.
        warm: Whether the worker has answered one request before, and knows how long its stages take.
        packs: Whether it is warm, and runs are known to be so short that they share a message, too.
    """

    of: type | None = None
    name: str = ""
    after: bool = False
    when: Callable[[Call, Any], bool] = lambda _call, _result: True
    again: tuple[str, ...] = ()
    beside: bool = False
    warm: bool = False
    packs: bool = False


def _of_run(call: Call, _: Any) -> bool:
    return _ref(call[1]).isdigit()


def _of(ref: str) -> Callable[[Call, Any], bool]:
    return lambda call, _: _ref(call[1]) == ref


def _ref(named: Any) -> str:
    return str(named["ref"] if isinstance(named, Mapping) else named.ref)


def _moves_on(call: Call, reply: Any) -> bool:
    return _of_run(call, reply) and bool(reply.orders or reply.next)


def _runs_together(call: Call, _: Any) -> bool:
    return len(call[1]) > 1 and all(ref.isdigit() for ref in _refs(call[1]))


def _stages_together(call: Call, _: Any) -> bool:
    return len(call[1]) > 1 and not any(ref.isdigit() for ref in _refs(call[1]))


def _refs(several: Sequence[Any]) -> list[str]:
    return [_ref(getattr(one, "held", one)) for one in several]


def _is_stored(call: Call, value: Any) -> bool:
    return bool(value.key) and value.key.rsplit(":", 2)[1].isdigit()


def _named_in_message(call: Call, _: Any) -> bool:
    return str((call[0]._request_dict.get(HEADER) or {}).get("ref")).isdigit()


def _names_several_in_message(call: Call, _: Any) -> bool:
    return "refs" in (call[0]._request_dict.get(HEADER) or {})


def _leaves_open(call: Call, _: Any) -> bool:
    return bool(call[1] == "open" and not call[3]["seal"])


POINTS: dict[str, Point] = {
    "before start": Point(of=Ledger, name="start", when=_of_run),
    "after start": Point(of=Ledger, name="start", when=_of_run, after=True),
    "in the collector": Point(again=("collector",)),
    "in a coroutine": Point(again=("collector",)),
    "after the payload is written": Point(
        of=PayloadWriter, name="close", after=True, when=_is_stored, again=("collector",)
    ),
    "before settle": Point(of=Ledger, name="settle", when=_of_run, again=("collector",)),
    "after settle": Point(
        of=Ledger,
        name="settle",
        after=True,
        when=lambda call, reply: _of_run(call, reply) and not _moves_on(call, reply),
    ),
    "between settle and publish": Point(
        of=Ledger, name="settle", after=True, when=lambda call, reply: _moves_on(call, reply) and bool(reply.orders)
    ),
    "between settle and the stage it goes on with": Point(
        of=Ledger,
        name="settle",
        after=True,
        when=lambda call, reply: _moves_on(call, reply) and bool(reply.next),
        warm=True,
    ),
    "after publish, before the confirm": Point(of=Dispatcher, name="send", after=True),
    "after the confirm, before the ledger hears of it": Point(
        of=Ledger, name="published", beside=True, when=lambda call, _: bool(call[1])
    ),
    "in the gathering": Point(again=("gathering",)),
    "in the cleanup": Point(again=("cleanup",)),
    "in the process": Point(again=("process",)),
    "before advance": Point(of=Ledger, name="settle", when=_of("gathering"), again=("gathering",)),
    "after advance": Point(of=Ledger, name="settle", after=True, when=_of("gathering")),
    "before the last advance": Point(of=Ledger, name="settle", when=_of("process"), again=("process",)),
    "after the last advance": Point(of=Ledger, name="settle", after=True, when=_of("process")),
    "before the acknowledgement": Point(of=Request, name="acknowledge", beside=True, when=_named_in_message),
    "after the acknowledgement": Point(of=Request, name="acknowledge", beside=True, after=True, when=_named_in_message),
}
_RUNS, _STAGES = ("collector",) * 2, ("gathering", "cleanup", "process")
POINTS |= {
    "before a pack is started": Point(of=Ledger, name="start_together", when=_runs_together, packs=True),
    "after a pack is started": Point(of=Ledger, name="start_together", when=_runs_together, after=True, packs=True),
    "in the middle of a pack": Point(again=_RUNS, packs=True),
    "before a pack is settled": Point(of=Ledger, name="settle_together", when=_runs_together, again=_RUNS, packs=True),
    "between a pack and the stages it goes on with": Point(
        of=Ledger, name="settle_together", when=_runs_together, after=True, packs=True
    ),
    "in the last of several stages": Point(again=_STAGES, packs=True),
    "before several stages are committed": Point(
        of=Ledger, name="settle_together", when=_stages_together, again=_STAGES, packs=True
    ),
    "after several stages are committed": Point(
        of=Ledger, name="settle_together", when=_stages_together, after=True, packs=True
    ),
    "before a pack's acknowledgement": Point(
        of=Request, name="acknowledge", beside=True, when=_names_several_in_message, packs=True
    ),
}


def _sent_refs(sent: Order | Pack) -> list[str]:
    return [order.ref for order in (sent.orders if isinstance(sent, Pack) else (sent,))]


OF_A_CLIENT: dict[str, Point] = {
    "between two chunks of an open": Point(of=Ledger, name="_reply", after=True, when=_leaves_open),
    "between open and fan-out": Point(of=Ledger, name="open", after=True),
    "in the middle of a fan-out": Point(
        of=Dispatcher, name="_send_one", after=True, when=lambda call, _: "600" in _sent_refs(call[2])
    ),
}


class Crash:
    """One process's part in it.

    Args:
        env: Says which point, who dies, and in which folder it is noted.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._name = env.get(POINT, "")
        self._who = env.get(WHO, "child")
        self._folder = Path(env.get(FOLDER, "/nonexistent"))
        point = (POINTS | OF_A_CLIENT).get(self._name)
        if point is not None and point.of is not None:
            setattr(point.of, point.name, self._wrapped(point, getattr(point.of, point.name)))

    def here(self, name: str) -> None:
        """The app's own code is at a point."""
        if name == self._name:
            self._strike(os.getpid())

    def _wrapped(self, point: Point, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not point.after and point.when(args, None):
                self._strike(_executing(args[0]))
            result = function(*args, **kwargs)
            if point.after and point.when(args, result):
                self._strike(_executing(args[0]))
            return result

        return wrapped

    def _strike(self, pid: int) -> None:
        """Kill once over all processes; a worker's main process is no child, and lives on when one is to die."""
        if (self._who == "child" and pid == FIRST_PID) or not (self._folder / ARMED).exists():
            return
        try:
            (self._folder / STRUCK).touch(exist_ok=False)
        except FileExistsError:
            return
        victims = {pid, FIRST_PID} if self._who == "worker" else {pid}
        for victim in sorted(victims, key=lambda one: one == os.getpid()):  # itself last
            os.kill(victim, signal.SIGKILL)


def _executing(of: Any) -> int:
    """The process that executes what a call is about; the main process acknowledges for its children."""
    return int(of.worker_pid or os.getpid()) if isinstance(of, Request) else os.getpid()
