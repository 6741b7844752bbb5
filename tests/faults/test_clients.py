"""A client that is killed while it asks for a thousand runs: what it opened lives whole or not at all."""

from __future__ import annotations

import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from celery_collectors import Report
from celery_collectors.ledger.asking import UNSEALED_TTL_MS
from celery_collectors.model import RequestState
from tests.faults.crash_points import OF_A_CLIENT
from tests.faults.dying_world import World, is_in_order, world
from tests.faults.matrix import Matrix, Verdict, _stream, judge
from tests.integration.conftest import Engine, until

RUNS = 1000
ASKS_FOR_A_CHORD = f"app.ask_many({RUNS})"
ASKS_WITH_A_KEY = "app.collectors.request('many', deadline=150, key='the same')"
IN_MID_OPEN, *OPENED = OF_A_CLIENT


def _kill_while_it(here: World, asks: str) -> None:
    here.arm()
    client = here.client(asks)
    here.struck_at()
    assert client.wait(20) == -signal.SIGKILL


def _verdict(here: World) -> Verdict:
    """How the one request was answered that there is."""
    (found,) = here.collectors.list(10).requests
    request = here.collectors.get(found.request_id)

    def is_whole(report: Report) -> bool:
        ran = Counter(here.noted("many"))
        each_once = (len(ran), set(ran.values())) == (RUNS, {1})
        return report.state == RequestState.COMPLETE and each_once and is_in_order(_stream(request))

    return judge(request, is_whole)


def _is_answered(engine: Engine, point: str) -> Verdict:
    with world(engine, point, "client") as here:
        _kill_while_it(here, ASKS_FOR_A_CHORD)
        here.worker("threads", 8, "-l", "WARNING")
        return _verdict(here)


def check_what_lives(engine: Engine, matrix: Matrix) -> None:
    """Kill a client at each point at which its request is in the ledger."""
    with ThreadPoolExecutor() as pool:
        verdicts = list(pool.map(partial(_is_answered, engine), OPENED))
    for point, verdict in zip(OPENED, verdicts, strict=True):
        matrix.check(f"a client is killed {point} of 1,000 runs", [verdict])


@pytest.mark.promise(5)
@pytest.mark.heavy
@pytest.mark.setups("rabbitmq")
def test_what_was_opened_lives_though_its_client_was_killed(engine: Engine, matrix: Matrix) -> None:
    check_what_lives(engine, matrix)


@pytest.mark.matrix
@pytest.mark.setups("embedded", "redis")
def test_what_was_opened_lives_elsewhere_too(engine: Engine, matrix: Matrix) -> None:
    check_what_lives(engine, matrix)


@pytest.mark.heavy
@pytest.mark.setups("embedded")
def test_what_was_opened_in_part_does_not_live_and_leaves_nothing(engine: Engine, matrix: Matrix) -> None:
    with world(engine, IN_MID_OPEN, "client") as here:
        _kill_while_it(here, ASKS_FOR_A_CHORD)
        left = _left(engine, here)
        assert {key.rsplit(b":", 2)[1] for key in left} == {b"request", b"calls"}
        assert all(0 < ttl_ms <= UNSEALED_TTL_MS for ttl_ms in left.values()), left
        (request_id,) = {key.rsplit(b":", 1)[1].decode() for key in left}
        assert (here.collectors.client.ledger.state(request_id), here.collectors.list(10).requests) == ("unknown", [])
        assert _due(engine, here) == 500

        here.worker("threads", 1)
        for key in left:
            engine.ledger_client.pexpire(key, 1)  # the hour is over
        until(lambda: not _due(engine, here), "nothing of it is due any more", 60)
        assert (_left(engine, here), here.noted("many")) == ({}, [])


def _left(engine: Engine, here: World) -> dict[bytes, int]:
    """The keys of all requests of a world, and for how many milliseconds each will live."""
    client, prefix = engine.ledger_client, here.collectors.settings.prefix
    keys = client.scan_iter(f"{prefix}:{{*}}:*:????????-*", count=1000)
    return {key: client.pttl(key) for key in keys}


def _due(engine: Engine, here: World) -> int:
    return sum(engine.ledger_client.zcard(f"{shard}:due") for shard in here.collectors.client.ledger.shards)


@pytest.mark.promise(5)
@pytest.mark.heavy
@pytest.mark.setups("embedded")
def test_what_was_opened_in_part_under_a_key_is_opened_by_the_next_client(engine: Engine, matrix: Matrix) -> None:
    with world(engine, IN_MID_OPEN, "client", many=RUNS) as here:
        _kill_while_it(here, ASKS_WITH_A_KEY)
        assert here.collectors.list(10).requests == []
        for _ in range(2):
            assert here.client(ASKS_WITH_A_KEY).wait(60) == 0, here.logs()
        here.worker("threads", 8, "-l", "WARNING")
        matrix.check("a client is killed between two chunks of an open, and another brings its key", [_verdict(here)])
