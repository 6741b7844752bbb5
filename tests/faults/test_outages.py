"""The broker, the ledger, or both stop in good order or are killed, and come back with their data or without."""

from __future__ import annotations

import shutil
import time

import pytest

from celery_collectors.errors import LedgerUnavailable, RequestUnknown
from tests.faults.matrix import Matrix
from tests.faults.servers import all_answered, in_flight, recovered_s, struck
from tests.integration.conftest import until
from tests.servers.fixtures import SETUPS, chosen_setups

pytestmark = pytest.mark.timeout(200)
REST = pytest.mark.matrix
CI = pytest.mark.heavy


def cases(*in_ci: tuple[str, str]) -> pytest.MarkDecorator:
    """Each set-up by each way to end; those named run in CI, and the others with the whole matrix."""
    crossed = [(name, how) for name in SETUPS for how in ("stopped", "killed") if name in chosen_setups()]
    return pytest.mark.parametrize(
        ("name", "how"), [pytest.param(*case, marks=CI if case in in_ci else REST) for case in crossed]
    )


@pytest.mark.promise(5)
@cases(("rabbitmq", "killed"))
def test_the_broker_is_away(
    request: pytest.FixtureRequest, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted is not lost: what is asked for meanwhile waits in the ledger, which is on another server."""
    with struck(request, name, "broker", monkeypatch) as world:
        engine = world.engine
        engine.worker("prefork", 4)
        requests = in_flight(engine)
        with world.away(how) as struck_at:
            began = time.monotonic()
            accepted = [engine.collectors.request(f"second-{n}", deadline=90) for n in range(10)]
            assert time.monotonic() - began < 9, "whoever asks does not wait for the broker"
            assert {one.state for one in accepted} == {"collecting"}
        verdicts = all_answered(requests + accepted)
        assert "Connection to broker lost" in engine.logs()
        Matrix(name).check(
            f"the broker is {how}, and away for 10 s", verdicts, recovery_s=recovered_s(requests + accepted, struck_at)
        )


@pytest.mark.promise(1, 5)
@cases()
def test_the_ledger_is_away(
    request: pytest.FixtureRequest, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ran on was not taken away, though its lease was over long before the ledger was back."""
    with struck(request, name, "ledger", monkeypatch) as world:
        engine = world.engine
        engine.worker("prefork", 4, COLLECTORS_LEASE_S="6", COLLECTORS_RENEW_S="2")
        long = [engine.collectors.request("gated", deadline=90), engine.collectors.request("agated", deadline=90)]
        until(lambda: engine.noted("gate-waits") and engine.noted("agate-waits"), "both run")
        requests = in_flight(engine)
        with world.away(how) as struck_at:
            began = time.monotonic()
            with pytest.raises(LedgerUnavailable):
                engine.collectors.request("python")
            assert time.monotonic() - began < 9
            engine.write("agate")  # it ends now, and has nobody to tell
        until(lambda: long[1].state == "complete", "what ended meanwhile was told")
        engine.write("gate")
        verdicts = all_answered(requests + long)
        assert "sweeping waits: the ledger at" in engine.logs()
        until(lambda: "the ledger is back" in engine.logs(), "the next sweep says so")
        attempts = {name: outcome.attempts for one in long for name, outcome in one.report().outcomes.items()}
        assert attempts["gated"] == attempts["agated"] == 1
        recovery_s = recovered_s(requests, struck_at)
        Matrix(name).check(f"the ledger is {how}, and away for 10 s", verdicts, recovery_s=recovery_s)


@pytest.mark.promise(1, 5)
@cases(("embedded", "killed"))
def test_broker_and_ledger_are_away(
    request: pytest.FixtureRequest, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one server where the set-up has one."""
    with struck(request, name, "both", monkeypatch) as world:
        engine = world.engine
        engine.worker("prefork", 2)
        requests = in_flight(engine, 60)
        with world.away(how) as struck_at:
            pass
        verdicts = all_answered(requests)
        recovery_s = recovered_s(requests, struck_at)
        Matrix(name).check(f"broker and ledger are {how}, and away for 10 s", verdicts, recovery_s=recovery_s)


@pytest.mark.parametrize("name", [pytest.param(n, marks=CI if n == "embedded" else REST) for n in chosen_setups()])
def test_the_ledger_comes_back_empty(
    request: pytest.FixtureRequest, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for what is gone, the workers say what that means, and new requests are answered."""
    with struck(request, name, "ledger", monkeypatch) as world:
        engine, (server,) = world.engine, world.servers
        engine.worker("prefork", 2)
        engine.worker("threads", 2)
        gone = [engine.collectors.request(topic, deadline=90) for topic in ("gated", "agated", "python")]
        until(lambda: engine.noted("gate-waits") and engine.noted("agate-waits"), "some of it runs")
        with world.away("killed", 0):
            assert server.log is not None
            shutil.rmtree(server.log.parent / "appendonlydir")
        assert {one.state for one in gone} == {"unknown"}
        for one in gone:
            with pytest.raises(RequestUnknown):
                one.wait()
        until(lambda: engine.logs().count("has lost its data") == 2, "each worker says so")
        facts = f"{engine.collectors.client.ledger.fleet}:meta"
        assert {b"shards", b"schema"} <= engine.ledger_client.hgetall(facts).keys()
        until(lambda: "told to stop: unknown" in engine.logs(), "what runs for nobody is stopped")
        engine.write("gate")
        requests = in_flight(engine, 20)
        Matrix(name).check("the ledger comes back without its data: what is asked after that", all_answered(requests))
        assert engine.logs().count("has lost its data") == 2, "each says so once"
