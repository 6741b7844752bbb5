"""The signal of a hard time limit, which a process gets a moment before it is killed."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_collectors.ledger import Grant
from celery_collectors.worker import call
from celery_collectors.worker.soft_limit import SoftLimit

TERM = SystemExit(-(256 - 15))  # what the handler of a pool's child makes of SIGTERM


@pytest.mark.parametrize(
    ("timelimit", "told"),
    [
        pytest.param([0.1, None], ["timed_out"], id="at the limit"),
        pytest.param([60, None], [], id="long before it, as at a shutdown"),
        pytest.param([None, None], [], id="without one"),
        pytest.param(None, [], id="without any"),
    ],
)
def test_a_process_at_its_hard_limit_does_not_hand_its_run_back(
    monkeypatch: pytest.MonkeyPatch, timelimit: Any, told: list[str]
) -> None:
    settled: list[str] = []
    process: Any = SimpleNamespace(
        keeper=SimpleNamespace(hold=lambda *_: None),
        in_own_thread=lambda *_: nullcontext(lambda _reason: None),
        soft_limit=SoftLimit(),
    )
    request = {"id": "r-0-1.1", "timelimit": timelimit}
    monkeypatch.setattr(call, "fetch", lambda *_: Grant(go=True, request_id="r", ref="0"))
    monkeypatch.setattr(call, "_with_data", lambda *_: call.Given((), (), {}, request))
    monkeypatch.setattr(call, "settle", lambda _process, _grant, attempt: settled.append(attempt.state))

    def trace(*_: Any) -> None:
        raise TERM

    with pytest.raises(SystemExit):
        call._execute(process, Celery(set_as_current=False), {}, trace, ((), {}, request))
    assert settled == told
