"""Contenders of ``scripts/bench peers`` on real servers: one that fails is left out, and the others are measured."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import pytest

from benchmarks.beside import Place, Size, measure_places
from benchmarks.contender import Flow, celery_flow
from benchmarks.peers.contenders import ours_and_raw
from tests.servers.fixtures import chosen_setups, give_up
from tests.servers.server import Missing

pytestmark = pytest.mark.heavy
TINY = Size(rounds=1, in_flight=5, singles=2)
SENDS_NOTHING = "def collector_request(topic): raise RuntimeError('no such queue')\n"


def _measured(places: list[Place], missing: dict[str, str]) -> Any:
    if "rabbitmq" not in chosen_setups():
        pytest.skip("it needs RabbitMQ and Redis, and the chosen set-ups leave them out")
    try:
        found, _versions = measure_places(places, TINY, missing, ends_at=time.monotonic() + 100)
    except Missing as error:
        give_up(error)
    return found


def test_a_peer_that_fails_is_left_out_and_ours_and_raw_are_measured_from_both_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_peer.py").write_text(SENDS_NOTHING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    raw, ours = ours_and_raw()
    places = [Place("raw", raw), Place("a", Flow("a", "a_peer", ())), Place("ours", ours), Place("task", ours, "task")]
    missing: dict[str, str] = {}
    found = _measured(places, missing)
    assert found.keys() == {"raw", "ours", "task"}
    assert "no such queue" in missing["a"]
    for (turn,) in found.values():
        assert turn["requests_s"] > 0
        assert 0 < turn["p50_ms"] <= turn["p95_ms"]
        assert turn["cpu_ms"] > 0
        assert {"worker", "pool", "sender", "redis", "rabbitmq"} <= turn["burst"]["cpu_ms"].keys()


def test_without_ours_there_is_no_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such module')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(click.ClickException, match="no such module"):
        _measured([Place("ours", celery_flow("ours", "broken"))], {})
