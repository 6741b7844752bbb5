"""The judge of all fault tests, on a request that nothing struck: what it would have to find is put in by hand."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from celery_collectors.model import RequestState
from tests.faults.matrix import FILE, Matrix, commits, judge
from tests.integration.conftest import Engine


@pytest.mark.setups("embedded")
def test_the_judge_tells_once_from_never_twice_and_wrong(engine: Engine) -> None:
    engine.worker()
    request = engine.collectors.request("python", deadline=30)
    assert judge(request, lambda report: report.state == RequestState.COMPLETE) == "once"
    assert judge(request, lambda report: not report.outcomes) == "wrong"
    stages = {(1, name): 1 for name in ("join", "merge", "total", "end")}
    assert commits(request) == stages

    again = ["stage", "total", "ok", 1, 0, 1, 1]  # subject, name, state, attempt, items, generation, time
    ledger = engine.collectors.client.ledger
    ledger.client.xadd(ledger.key("events", request.id), {"e": msgspec.msgpack.encode(again)})
    assert judge(request, lambda _: True) == "twice"

    waiting = engine.collectors.request("gated", deadline=30, only=["gated"])
    assert judge(waiting, lambda _: True, within_s=0.1) == "never"


def test_a_check_fails_unless_all_were_answered_once_and_keeps_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows"
    monkeypatch.setenv(FILE, str(rows))
    Matrix("redis").check("a fault", ["once", "once"], recovery_s=1.5)
    with pytest.raises(AssertionError, match="never"):
        Matrix("redis").check("another fault", ["once", "never"])
    first, second = map(json.loads, rows.read_text().splitlines())
    assert (first["fault"], first["once"], first["recovery_s"]) == ("a fault", 2, 1.5)
    assert (second["once"], second["never"], second["twice"]) == (1, 1, 0)
