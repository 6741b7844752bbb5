"""Trying a request again: what failed runs, what answered is kept, and every stage gathers anew."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from celery_collectors.errors import RefusedError, RequestError
from tests.integration.conftest import ROOT, Engine, until


@pytest.mark.promise(4)
@pytest.mark.everywhere
def test_only_what_failed_runs_again_and_the_stages_gather_anew(engine: Engine, pool: str) -> None:
    engine.worker(pool)
    request = engine.collectors.request("mend", deadline=20)
    first = request.wait()
    assert (first.state, first.generation, first.result["items"]) == ("partial", 1, 1)
    engine.write("mended")
    begun = request.retry()
    assert (begun.generation, begun.runs, begun.left) == (2, ("mends",), ())
    report = request.wait()
    assert (report.state, report.generation, report.result["items"]) == ("complete", 2, 2)
    assert (engine.noted("steady"), engine.noted("mends")) == (1, 2)
    assert [engine.noted(stage) for stage in ("gathering", "cleanup", "process")] == [2, 2, 2]
    assert sorted(map(str, request.items())) == ["mended", "{'from': 'steady', 'topic': 'mend'}"]
    assert report.deadline_at > first.deadline_at


def test_a_failed_stage_runs_again_and_no_collector_does(engine: Engine) -> None:
    engine.worker()
    engine.collectors.configure(stage_retries=0)
    request = engine.collectors.request("process-raises", deadline=20)
    assert request.wait().state == "failed"
    assert request.retry().runs == ()
    assert request.wait().generation == 2
    assert (engine.noted("steady"), engine.noted("process")) == (1, 2)
    engine.collectors.configure(stage_retries=None)


def test_what_trying_again_can_not_help_is_refused_with_that_reason(engine: Engine) -> None:
    engine.worker()
    request = engine.collectors.request("permanent", deadline=20)
    assert request.wait().state == "partial"
    for only in ("failed", "permanent", ["permanent"]):
        with pytest.raises(RefusedError, match="the key was revoked"):
            request.retry(only)
    with pytest.raises(RefusedError, match="steady has answered"):
        request.retry("steady")
    for only, shown in ((5, "5"), (b"permanent", "b'permanent'"), (["permanent", None], "None")):
        with pytest.raises(RequestError, match=f"only takes a name or a list of names, not {shown}"):
            request.retry(only)  # type: ignore[arg-type]
    assert request.retry("permanent", force=True).runs == ("permanent",)
    assert request.wait().state == "partial"
    assert (engine.noted("permanent"), engine.noted("steady")) == (2, 1)


def test_what_is_under_way_or_over_is_refused(engine: Engine) -> None:
    request = engine.collectors.request("python", deadline=30)
    with pytest.raises(RefusedError, match="still collecting"):
        request.retry()
    engine.worker()
    request.wait()
    with pytest.raises(RefusedError, match="is complete"):
        request.retry()
    other = engine.collectors.request("gated", deadline=30)
    other.cancel()
    with pytest.raises(RefusedError, match="was cancelled"):
        other.retry()


def test_a_new_deadline_is_kept(engine: Engine) -> None:
    engine.worker()
    request = engine.collectors.request("mend gated", deadline=2, only=["steady", "gated", "mends"])
    assert request.wait().outcomes["gated"].state == "timed_out"
    request.retry(["gated"], deadline=1, finish=5)
    report = request.wait()
    assert report.outcomes["gated"].state == "timed_out"
    assert 0.9 < (report.deadline_at - _begun_at(request)).total_seconds() < 1.1
    assert engine.noted("mends") == 1


def _begun_at(request: object) -> object:
    from datetime import UTC, datetime

    (begun,) = [e for e in request.events() if (e.subject, e.state, e.generation) == ("request", "collecting", 2)]
    return datetime.fromtimestamp(begun.at_ms / 1000, UTC)


def test_events_go_on_over_the_generations(engine: Engine) -> None:
    engine.worker()
    request = engine.collectors.request("mend", deadline=20)
    request.wait()
    engine.write("mended")
    request.retry()
    told = [(e.state, e.generation) for e in request.events(timeout=20) if e.subject == "request"]
    states = ["collecting", "gathering", "cleaning", "processing"]
    assert told == [(s, 1) for s in [*states, "partial"]] + [(s, 2) for s in [*states, "complete"]]
    assert [e.generation for e in request.events(timeout=5)][-1] == 2  # and a second time, after its end


RETRIES = """
import json, sys
from celery_collectors.errors import RefusedError
from tests.integration.engine_app import collectors

request = collectors.get(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    print(json.dumps(request.retry().generation))
except RefusedError as error:
    print(json.dumps(str(error)))
"""


def test_of_many_clients_at_once_one_begins_the_next_generation(engine: Engine) -> None:
    engine.worker()
    request = engine.collectors.request("mend", deadline=60)
    assert request.wait().state == "partial"
    clients = [_client(engine, RETRIES, request.id) for _ in range(6)]
    answers = [json.loads(answer) for answer in _all_at_once(clients)]
    assert answers.count(2) == 1, answers
    refused = [answer for answer in answers if answer != 2]
    assert all("somebody else has retried" in said or "is still" in said or said == 3 for said in refused), answers
    until(lambda: request.state == "partial", "it ends again")
    assert engine.noted("mends") == request.report().generation
    assert engine.noted("steady") == 1


ASKS = """
import sys
from tests.integration.engine_app import collectors

collectors.ledger_url
print("ready", flush=True)
sys.stdin.readline()
print(collectors.request("python", key="one question", deadline=30).id)
"""


@pytest.mark.everywhere
def test_one_key_gives_one_request_to_many_clients_at_once(engine: Engine) -> None:
    engine.worker()
    ids = _all_at_once([_client(engine, ASKS) for _ in range(6)])
    assert len(set(ids)) == 1, ids
    assert engine.collectors.get(ids[0]).wait().state == "complete"
    assert (engine.noted("steady"), engine.noted("process")) == (1, 1)
    assert len(engine.collectors.list().requests) == 1


def _client(engine: Engine, code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=engine.env(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _all_at_once(clients: list[subprocess.Popen[str]]) -> list[str]:
    """Let them go when all are ready; return what each said."""
    try:
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("go\n")
            client.stdin.flush()
        return [client.communicate(timeout=60)[0].strip() for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.wait(10)
