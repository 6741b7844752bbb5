"""``requests watch``: a request as it goes on, for eyes and for programs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Shell, until

SHOP = ("--app", "shop", "requests", "watch")


def test_events_come_as_lines_while_they_happen(warm: Shell, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    request_id = warm.collect(f"both:{gate}", "--detach").out.strip()
    running = warm.start(*SHOP, request_id, "--json")
    running.prints('"name": "slow", "state": "running"')
    gate.touch()
    done = running.done()
    events = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 3
    assert {event["version"] for event in events} == {1}
    assert {event["request_id"] for event in events} == {request_id}
    assert (events[0]["state"], events[-1]["subject"], events[-1]["state"]) == ("collecting", "request", "partial")
    assert [event["id"] for event in events] == sorted({event["id"] for event in events})
    assert "\x9b" not in done.out and "\x1b" not in done.out


def test_one_that_has_ended_is_told_whole(warm: Shell) -> None:
    request_id = warm.collect("fast:food", "--json").json()["request_id"]
    done = warm.run(*SHOP, request_id[:8])
    assert done.code == 0
    assert "quick: ok, 2 items" in done.err
    assert "2 of 2 answered" in done.out and '"topic": "fast:food"' in done.out


def test_ctrl_c_stops_watching_only(warm: Shell, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    request_id = warm.collect(f"slow:{gate}", "--detach").out.strip()
    for options in ([], ["--json"]):
        running = warm.start(*SHOP, request_id, *options)
        running.prints("running") if options else running.says("slow: running")
        running.interrupt()
        done = running.done()
        assert (done.code, f"stopped watching; {request_id} goes on" in done.err) == (130, True)
    assert warm.show(request_id)["state"] == "collecting"
    gate.touch()
    until(lambda: warm.show(request_id)["state"] == "complete", "it goes on by itself")


def test_one_that_was_left_by_a_death_goes_on_while_it_is_watched(cold: Shell) -> None:
    asked = cold.start("--app", "shop", "collect", "fast:food", "--deadline", "25s")
    asked.says("fast:food: collecting")
    asked.process.kill()
    asked.process.wait(30)
    until(lambda: not cold.processes(), "its engine has ended")
    (left,) = cold.run("--app", "shop", "requests", "list", "--json").json()["requests"]
    done = cold.run(*SHOP, left["request_id"])
    assert done.code == 0, done.out


def test_an_unknown_one_is_not_found(warm: Shell) -> None:
    done = warm.run(*SHOP, "00000000-0000-4000-8000-000000000000")
    assert (done.code, done.out) == (6, "")
