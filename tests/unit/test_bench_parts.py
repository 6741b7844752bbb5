"""The benchmarks' own parts: who takes turns, when a round counts, what refuses wrong work, what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import psutil
import pytest
from click.testing import CliRunner

from benchmarks import recorded, venvs, wide
from benchmarks.__main__ import ALL, bench
from benchmarks.beside import findings, peers_table
from benchmarks.contender import Contender, Flow, TooSlow, celery_flow, sender_of
from benchmarks.cpu import cpu_s, peak_mb
from benchmarks.growth import flatness, grown
from benchmarks.journal import Journal, WrongWork
from benchmarks.machine import too_busy
from benchmarks.memory import FROM_A_SCRIPT, by_verb, kind_of, less, script_names
from benchmarks.peers.contenders import ACKS, PEERS
from benchmarks.plot import draw
from benchmarks.recorded import Part, better, fallen, hold
from benchmarks.report import Bars, Finding, Lines, Measured, number
from benchmarks.running import Benchmark, run
from benchmarks.start import Program
from benchmarks.turns import in_rounds
from benchmarks.venvs import NotInstalled, python_of, version_of
from benchmarks.waits import raw_takes_s
from tests.cli.conftest import until

ROOT = Path(__file__).parents[2]


class Named(NamedTuple):
    """Something that has turns."""

    name: str


A, B = Named("a"), Named("b")


class AsksForNothing:
    """A contender whose single request takes 2 s of the clock and 1 s of CPU time."""

    def ask(self, way: str, count: int, *, ends_at: float) -> dict[str, float]:
        assert (way, ends_at) == ("ask", 7.0)
        return {"took_s": 2.0 * count, "cpu_s": 1.0 * count}


def test_what_is_asked_often_in_one_turn_is_told_for_one_request() -> None:
    for times in (1, 40):
        assert wide.asked(AsksForNothing(), times, ends_at=7.0) == {"took_s": 2.0, "cpu_s": 1.0}


def test_programs_find_their_modules_compiled_as_users_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    program = Program("p", (sys.executable, "-c", "import sys; print(sys.dont_write_bytecode)"))
    assert program.turn()["said"] == program.turn(os.environ)["said"] == "False\n"


# What is made of figures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "aim", "at_most", "met"),
    [(5.0, 5.0, False, True), (4.9, 5.0, False, False), (0.3, 0.3, True, True), (0.31, 0.3, True, False)],
)
def test_an_aim_is_reached_from_its_own_side(value: float, aim: float, at_most: bool, met: bool) -> None:
    assert Finding("f", value, "s", aim, at_most).met is met
    assert Finding("f", value).met is None


def test_numbers_have_the_digits_that_mean_something() -> None:
    assert [number(value) for value in (0.123, 45.67, 12345.6)] == ["0.12", "45.7", "12,346"]


def test_flat_is_the_largest_beside_the_smallest() -> None:
    assert flatness({1000: {"ms": 3.0}, 10: {"ms": 2.0}, 100: {"ms": 99.0}}, "ms") == 1.5


def test_it_grows_as_far_as_there_is_time_for() -> None:
    assert grown([1, 10, 100, 1000], _slow_from(100), "runs") == {1: {"ms": 1.0}, 10: {"ms": 10.0}}
    with pytest.raises(TooSlow, match="10 took too long"):
        grown([1, 10, 100], _slow_from(10), "runs")


def _slow_from(limit: int) -> Callable[[int], dict[str, float]]:
    def measure_one(size: int) -> dict[str, float]:
        if size >= limit:
            raise TooSlow(f"{size} took too long")
        return {"ms": float(size)}

    return measure_one


def test_memory_is_what_a_request_added() -> None:
    found = less({"runs": 5000, "request": 900, "workers": 50}, {"runs": 1000, "workers": 50}, 2)
    assert list(found.items()) == [("runs", 2000), ("request", 450)]


@pytest.mark.parametrize(
    ("key", "kind"),
    [("collectors:x:{3}:events:0b71", "events"), ("collectors:x:{3}:waiting:q:normal", "waiting"), ("other", "other")],
)
def test_a_ledgers_key_says_what_it_holds(key: str, kind: str) -> None:
    assert kind_of(key) == kind


def test_a_verbs_time_is_its_scripts_and_what_runs_inside_is_not_counted_again() -> None:
    sha = {name: sha for sha, name in script_names().items()}["settle"]
    log = [
        {"command": f"EVALSHA {sha} 1 p {{}} ".encode(), "duration": 90, "client_address": b"127.0.0.1:1"},
        {"command": f"EVALSHA {sha} 1 p {{}} ".encode(), "duration": 110, "client_address": b"127.0.0.1:1"},
        {"command": b"HGET k f", "duration": 5, "client_address": FROM_A_SCRIPT},
        {"command": b"get k", "duration": 4, "client_address": b"127.0.0.1:2"},
    ]
    assert by_verb(log, script_names(), 2) == {
        "settle": {"us_each_call": 100, "calls_each_request": 1, "us_each_request": 100},
        "GET": {"us_each_call": 4, "calls_each_request": 0.5, "us_each_request": 2},
    }


def test_what_raw_needs_at_least_is_its_runs_over_its_processes() -> None:
    assert raw_takes_s(10_000) == 5000


PEER = {"requests_s": 300.0, "p50_ms": 10.0, "p95_ms": 20.0, "cpu_ms": 5.0}
FOUND = {
    "raw": {"requests_s": 100.0, "p50_ms": 20.0, "p95_ms": 25.0, "cpu_ms": 20.0},
    "ours": {"requests_s": 600.0, "p50_ms": 4.0, "p95_ms": 20.0, "cpu_ms": 4.0},
    "huey": PEER,
    "saq": PEER | {"requests_s": 500.0},
    "raw, by task": PEER | {"requests_s": 50.0},
    "ours, by task": PEER | {"requests_s": 150.0},
}


def test_ours_is_held_against_raw_of_the_same_start_and_against_the_best_peer() -> None:
    found = {one.title: (one.value, one.met) for one in findings(FOUND)}
    assert found == {
        "requests/s, started from the client": (6.0, True),
        "requests/s beside the best peer, saq": (1.2, False),
        "requests/s, started by the task collector_request": (3.0, False),
        "CPU time of a request": (5.0, None),
        "idle p50": (0.2, True),
        "idle p95": (0.8, False),
    }


def test_without_a_peer_ours_is_still_held_against_raw() -> None:
    alone = {name: FOUND[name] for name in FOUND if name not in {peer.name for peer in PEERS}}
    assert [one.title for one in findings(alone)][:2] == [
        "requests/s, started from the client",
        "requests/s, started by the task collector_request",
    ]


def test_the_table_of_peers_says_what_an_acknowledgement_is_worth() -> None:
    cells = [list(column.cells) for column in peers_table("t", FOUND).columns]
    assert cells[0] == list(FOUND)
    assert cells[2] == ["", "6.00", "3.00", "5.00", "", "3.00"]  # each start beside raw's own
    assert cells[-1][1] == cells[-1][5] == ACKS["ours"]
    assert "lost on a kill" in cells[-1][2]


def test_a_ratio_falls_when_it_is_below_four_fifths_and_what_was_not_measured_has_not_fallen() -> None:
    recorded_ones = {"a": 10.0, "b": 10.0, "gone": 1.0}
    assert fallen({"a": 7.9, "b": 8.0, "new": 0.0}, recorded_ones) == ["a"]
    assert fallen(better({"a": 7.9}, {"a": 8.1}), recorded_ones) == []
    assert better({"a": 7.9, "b": 2.0}, {"a": 1.0, "c": 1.0}) == {"a": 7.9, "b": 2.0}


def test_what_has_fallen_counts_only_when_it_falls_again() -> None:
    values = {"steady": iter([1.0]), "lucky": iter([0.5, 0.9]), "fallen": iter([0.7, 0.6])}

    def part(name: str) -> Part:
        return Part(name, lambda _ends_at: {name: next(values[name])})  # one that is measured too often stops here

    held = hold([part(name) for name in values], dict.fromkeys(values, 1.0), time.monotonic() + 60)
    assert held.fallen == ["fallen"]
    assert held.found == {"steady": 1.0, "lucky": 0.9, "fallen": 0.7}


def test_what_there_is_no_time_for_is_named_and_has_not_fallen() -> None:
    def late(_ends_at: float) -> dict[str, float]:
        raise TooSlow("the time was over")

    held = hold([Part("late", late), Part("in time", lambda _: {"a": 1.0})], {"a": 1.0, "b": 1.0}, 0)
    assert held == ({"a": 1.0}, [], {"late": "the time was over"})


def test_what_is_recorded_can_be_checked() -> None:
    ratios = json.loads(recorded.RECORDED.read_text(encoding="utf-8"))["ratios"]
    assert len(ratios) >= len(recorded.PARTS)
    assert all(value > 0 for value in ratios.values())


@pytest.mark.parametrize("arguments", [["--check"], ["--record"], ["--quick", "wide"]])
def test_options_that_would_be_overlooked_are_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(bench, arguments).exit_code == 2


def test_help_names_every_benchmark() -> None:
    said = CliRunner().invoke(bench, ["--help"]).output
    assert [one.name for one in ALL] == ["chord", "peers", "wide", "async", "payload", "ledger", "growth", "start"]
    assert all(f"\n  {one.name} " in said for one in ALL)


# Turns ------------------------------------------------------------------------------------------------------------


def test_the_next_round_begins_with_the_next_contender() -> None:
    order = []

    def turn(one: Named) -> dict[str, Any]:
        order.append(one.name)
        return {"n": len(order)}

    found = in_rounds([A, B], turn, rounds=3, ends_at=time.monotonic() + 60)
    assert "".join(order) == "abbaab"
    assert found == {"a": [{"n": 1}, {"n": 4}, {"n": 5}], "b": [{"n": 2}, {"n": 3}, {"n": 6}]}


def test_a_round_that_there_is_no_time_for_does_not_count() -> None:
    turns = iter([1, 2, 3])

    def turn(_one: Named) -> dict[str, Any]:
        if (number := next(turns)) == 3:
            raise TooSlow("over")
        return {"n": number}

    assert in_rounds([A, B], turn, rounds=3, ends_at=time.monotonic() + 60) == {"a": [{"n": 1}], "b": [{"n": 2}]}


def test_without_one_whole_round_there_is_no_figure() -> None:
    with pytest.raises(TooSlow, match="round 1 of 2"):
        in_rounds([A], lambda _: {}, rounds=2, ends_at=time.monotonic() - 1)


# Processes --------------------------------------------------------------------------------------------------------

FLOW = """
import time
from benchmarks.journal import WrongWork

asked = []

async def collector_request(topic):
    asked.append(topic)

def count(_):
    return {"asked": asked}

def lie(_):
    raise WrongWork("3 x 5 integers gave 14")

def hang(_):
    time.sleep(600)
"""


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    (tmp_path / "a_flow.py").write_text(FLOW)
    return Flow("a", "a_flow", (), {})


def _env(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}


def test_a_sender_asks_so_often_in_one_loop_and_says_what_a_function_found(flow: Flow, tmp_path: Path) -> None:
    ends_at = time.monotonic() + 30
    with sender_of(flow, _env(tmp_path), tmp_path) as sender:
        sent = sender.send("client", 3, ends_at=ends_at)
        assert 0 <= sent["sent_at_s"] - sent["began_at_s"] < 30
        assert sender.send("count", 1, ends_at=ends_at)["asked"] == ["python"] * 3


def test_an_answer_that_is_wrong_is_no_figure(flow: Flow, tmp_path: Path) -> None:
    with sender_of(flow, _env(tmp_path), tmp_path) as sender, pytest.raises(click.ClickException, match="gave 14"):
        sender.send("lie", 1, ends_at=time.monotonic() + 30)


def test_a_sender_that_hangs_is_given_up_and_ended(flow: Flow, tmp_path: Path) -> None:
    with sender_of(flow, _env(tmp_path), tmp_path) as sender, pytest.raises(TooSlow, match="'hang 1'"):
        sender.send("hang", 1, ends_at=time.monotonic() + 0.2)
    assert sender.process.poll() is not None


def test_a_sender_that_has_ended_already_is_said_with_its_last_words(flow: Flow, tmp_path: Path) -> None:
    with sender_of(flow._replace(module="broken"), _env(tmp_path), tmp_path) as sender:
        until(lambda: psutil.Process(sender.process.pid).status() == psutil.STATUS_ZOMBIE, "it has ended")
        with pytest.raises(click.ClickException, match="No module named 'broken'"):
            sender.send("client", 1, ends_at=time.monotonic() + 30)


HOLDS_ONE = """
import os, time
from pathlib import Path
from benchmarks.contender import Flow, sender_of
from benchmarks.scratch import scratch
with scratch() as folder, sender_of(Flow("a", "a_flow", (), {}), os.environ, Path(folder)) as sender:
    sender.process.stdin.write("hang 1\\n")
    sender.process.stdin.flush()
    print(folder, sender.process.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_process_and_no_file(flow: Flow, tmp_path: Path, number: int) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS_ONE], env=_env(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    folder, pid = holder.stdout.readline().split()
    assert Path(folder).is_dir()
    holder.send_signal(number)
    holder.communicate()
    until(lambda: not Path(folder).exists(), "its folder is gone")
    until(lambda: _has_ended(int(pid)), "its sender has ended")


def _has_ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_cpu_time_and_memory_of_a_process_are_told() -> None:
    used = cpu_s({"me": os.getpid(), "gone": 2**22 + 1})
    assert used.keys() == {"me"}
    assert used["me"] > 0
    before = peak_mb(os.getpid())
    block = bytearray(b"x" * 60_000_000)
    del block
    assert peak_mb(os.getpid()) > min(before, 59)


def test_a_workers_name_is_its_contenders() -> None:
    """Two workers of one name on one broker take each other's control messages, and one of them hangs."""
    assert "raw@bench" in celery_flow("raw", "m").worker
    assert "ours@bench" in celery_flow("ours", "m").worker


def test_a_burst_of_wrong_work_is_refused(flow: Flow, tmp_path: Path) -> None:
    """The flow asks, but nothing is ever done; and then too much is."""
    path = tmp_path / "journal"
    path.touch()
    with sender_of(flow, _env(tmp_path), tmp_path) as sender:
        contender = Contender(flow, None, sender, journal=Journal(path), pids={})
        with pytest.raises(TooSlow, match="0 of 1 requests"):
            contender.burst("client", 1, ends_at=time.monotonic() + 1)
        path.write_text("1.0 processed a 3\n" * 2)
        with pytest.raises(WrongWork, match="'processed': 2"):
            contender.burst("client", 1, ends_at=time.monotonic() + 30)


# Peers' environments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_written_down_with_its_version_and_its_acknowledgements(peer: Any) -> None:
    assert version_of(peer.package, peer.distribution)
    assert (ROOT / "benchmarks" / "peers" / f"{peer.package}.py").is_file()
    assert peer.acks


@pytest.mark.heavy  # makes two environments
def test_a_peer_that_cannot_be_installed_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venvs, "PINS", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pins = tmp_path / "peer.txt"
    pins.write_text(f"--no-index\n{tmp_path / 'no-such-package'}\n")
    with pytest.raises(NotInstalled, match="no-such-package"):
        python_of("peer")
    pins.write_text("--no-index\n")  # another list is another environment
    python = python_of("peer")
    assert (
        subprocess.run([python, "-c", "import sys; sys.exit(sys.prefix == sys.base_prefix)"], check=False).returncode
        == 0
    )
    made_at = Path(python).lstat().st_mtime_ns
    assert Path(python_of("peer")).lstat().st_mtime_ns == made_at


# Reports ----------------------------------------------------------------------------------------------------------


def test_a_report_is_written_with_versions_and_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Measured([Finding("speed", 6.0, "×", 5.0)], {"rounds": [1]}, notes=["mind this"], versions={"redis": "7"})
    report = run(Benchmark("b", "t", lambda _quick, _until: found), quick=True, as_json=False, out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "b.json").read_text()) == report
    assert report["findings"] == [
        {"title": "speed", "value": 6.0, "unit": "×", "aim": 5.0, "at_most": False, "met": True}
    ]
    assert report["machine"]["cores"]
    assert report["versions"]["redis"] == "7"
    assert report["versions"]["celery"]
    said = capsys.readouterr().out
    for part in ("6.00 ×", "≥ 5.00 ×", "✓", "mind this", "celery-collectors"):
        assert part in said


@pytest.mark.parametrize("error", [WrongWork("2 requests"), TooSlow("2 requests")])
def test_what_could_not_be_measured_writes_nothing(tmp_path: Path, error: Exception) -> None:
    def measure(_quick: bool, _ends_at: float) -> Measured:
        raise error

    with pytest.raises(click.ClickException, match="b: 2 requests"):
        run(Benchmark("b", "t", measure), quick=True, as_json=False, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_busy_machine_is_named_with_how_busy_it_is() -> None:
    assert "98% of its CPU" in too_busy(0.98)


def test_pictures_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="scripts/bench installs the extra 'bench'")
    lines = Lines("how it grows", "requests", {"cpu": [(10, 1.0), (100, 1.1)], "p50": [(10, 3.0), (100, 3.0)]})
    path = tmp_path / "p.png"
    draw("t", [Bars("who", "requests/s", {"raw": 1.0, "ours": 6.0}), lines, lines], path)
    assert path.read_bytes().startswith(b"\x89PNG")
