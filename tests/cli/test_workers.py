"""``workers list|restart``: who works, and one of them started anew."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import Running, Shell, until

SHOP = ("--app", "shop")


def _mains(running: Running) -> dict[str, int]:
    """The first process of each worker, by its name."""
    children = psutil.Process(running.process.pid).children()
    workers = [(one.cmdline(), one.pid) for one in children if "worker" in one.cmdline()]
    return {command[command.index("-n") + 1].partition("@")[0]: pid for command, pid in workers}


@pytest.mark.heavy
def test_a_worker_is_restarted_while_the_other_goes_on(cold: Shell) -> None:
    cold.variables["XDG_STATE_HOME"] = str(cold.home.parent)
    arguments = ("--no-web", "--no-flower", "--workers", "2", "--concurrency", "1", "--pool", "threads")
    running = cold.start(*SHOP, "up", *arguments)
    running.prints("ready: 2 workers")
    running.prints(r"up-\S+ ready\.", times=2)
    before = _mains(running)
    listed = cold.run(*SHOP, "workers", "list", "--json").json()
    assert listed["version"] == 1
    queues = {one["name"].partition("@")[0]: one["queues"] for one in listed["workers"]}
    assert queues == {name: ["celery", "collectors.shop.v1"] for name in before}
    first, second = sorted(before)
    assert first in cold.run(*SHOP, "workers", "list").out
    restarting = cold.start(*SHOP, "workers", "restart", first, "--json")
    running.prints("worker 1 ended with status 0: started again")
    assert cold.collect("fast:food").code == 0, "the other works meanwhile"
    done = restarting.done()
    assert done.code == 0, done.err
    assert done.json() == {"version": 1, "restarted": [f"{first}@{listed['workers'][0]['name'].partition('@')[2]}"]}
    after = _mains(running)
    assert after[first] != before[first]
    assert after[second] == before[second]
    running.process.kill()
    until(lambda: not cold.processes(), "nothing is left")


@pytest.mark.heavy
def test_one_that_nobody_starts_again_is_said(cold: Shell, ledger_url: str) -> None:
    cold.variables |= {"CELERY_BROKER_URL": ledger_url, "COLLECTORS_LEDGER": ledger_url.replace("=0", "=5")}
    none = cold.run(*SHOP, "workers", "restart", "--all")
    assert (none.code, "error: no worker is there" in none.err) == (1, True), none.err
    running = cold.start(*SHOP, "worker", "--concurrency", "1", "--pool", "threads", "--", "-n", "alone@here")
    running.says(r"alone@here ready\.")
    done = cold.run(*SHOP, "workers", "restart", "alone", "--within", "4s")
    assert (done.code, done.out) == (1, "")
    assert "error: alone@here was asked to end, and was not back within 4 s" in done.err
    assert "if nothing keeps it running, start it again" in done.err
    assert running.done().code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [([], "which workers?"), (["x", "--all"], "which workers?"), (["x", "--within", "soon"], "is not a duration")],
)
def test_which_ones_must_be_said(cold: Shell, arguments: list[str], says: str) -> None:
    done = cold.run(*SHOP, "workers", "restart", *arguments)
    assert (done.code, done.out, says in done.err) == (2, "", True), done.err
    assert not Path(cold.home).exists()


def test_a_name_that_is_not_there_is_no_worker(warm: Shell) -> None:
    until(lambda: warm.run(*SHOP, "workers", "list", "--json").json()["workers"], "the engine's own worker")
    done = warm.run(*SHOP, "workers", "restart", "nobody")
    assert (done.code, done.out) == (2, "")
    assert "error: 'nobody' is no worker that is there\nhint: there are embedded-" in done.err
