"""``requests`` and ``list``: looking at what is there."""

from __future__ import annotations

from celery import Celery

from celery_collectors import Collectors
from tests.cli.conftest import Shell


def test_requests_are_listed_newest_first_and_page_by_page(warm: Shell) -> None:
    ids = [warm.collect("fast:food", "--json").json()["request_id"] for _ in range(3)]
    first = warm.run("--app", "shop", "requests", "list", "--limit", "2", "--json").json()
    assert [one["request_id"] for one in first["requests"]] == [ids[2], ids[1]]
    cursor = first["cursor"]
    more = warm.run("--app", "shop", "requests", "list", "--limit", "1", "--cursor", cursor, "--json").json()
    assert [one["request_id"] for one in more["requests"]] == [ids[0]]
    assert set(first) == {"version", "requests", "cursor"}


def test_requests_are_found_by_state(warm: Shell) -> None:
    failed = warm.collect("bad:luck", "--json").json()["request_id"]
    warm.collect("fast:food")
    found = warm.run("--app", "shop", "requests", "list", "--state", "failed", "--limit", "1", "--json").json()
    assert [one["request_id"] for one in found["requests"]] == [failed]
    listed = warm.run("--app", "shop", "requests", "list", "--state", "failed").out
    assert failed[:8] in listed
    assert not [line for line in listed.splitlines() if line != line.rstrip()]


def test_requests_are_found_by_topic_and_age(warm: Shell) -> None:
    mine = warm.collect("fast:foundbytopic", "--json").json()["request_id"]
    warm.collect("fast:food")

    def found(*options: str) -> list[str]:
        listed = warm.run("--app", "shop", "requests", "list", *options, "--json").json()["requests"]
        return [one["request_id"] for one in listed]

    assert found("--topic", "fast:foundby*") == [mine]
    assert mine in found("--since", "10m", "--limit", "1000")
    assert found("--since", "2099-01-01") == found("--topic", "foundby*") == []
    done = warm.run("--app", "shop", "requests", "list", "--since", "soon")
    assert (done.code, "'soon' is no moment; write it like 30m" in done.err) == (2, True)


def test_a_request_is_shown_by_its_ids_beginning(warm: Shell) -> None:
    report = warm.collect("sour:grapes", "--json").json()
    assert warm.show(report["request_id"][:8]) == report
    done = warm.run("--app", "shop", "requests", "show", report["request_id"].upper(), "--events")
    assert done.code == 0
    for said in ("quick: running", "sour: failed", "1 of 2 answered", '"topic": "sour:grapes"'):
        assert said in done.out


def test_an_unknown_request_is_not_found(cold: Shell) -> None:
    done = cold.run("--app", "shop", "requests", "show", "00000000-0000-4000-8000-000000000000")
    assert (done.code, done.out) == (6, "")
    assert "error: the ledger holds no request" in done.err
    listed = cold.run("--app", "shop", "requests", "list", "--json").json()
    assert listed == {"version": 1, "requests": [], "cursor": None}


def test_what_matters_most_fits_a_narrow_terminal(warm: Shell) -> None:
    request_id = warm.collect("fast:longersofood", "--json").json()["request_id"]
    warm.variables["COLUMNS"] = "40"
    first = warm.run("--app", "shop", "requests", "list", "--limit", "1").out.splitlines()
    assert first[0].split() == ["request", "state", "topic"]
    assert first[1].split() == [request_id[:8], "✓", "complete", "fast:longersofood"]
    declared = warm.run("--app", "shop", "list").out.splitlines()
    assert declared[0].split() == ["collector", "topics", "what", "it", "says"]


def test_collectors_are_listed_without_any_server(cold: Shell) -> None:
    listed = cold.run("--app", "shop", "list", "--json").json()
    quick, quick_too = listed["collectors"][:2]
    assert quick == {
        "name": "quick", "topics": ["fast:*", "sour:*"], "timeout_s": 30.0, "retries": 0, "kind": "sync",
        "description": "Answers at once.",
    }  # fmt: skip
    assert (quick_too["kind"], quick_too["timeout_s"], quick_too["retries"]) == ("async", 5.0, 1)
    assert "quick_too" not in cold.run("--app", "shop", "collectors", "list", "--topic", "sour:x").out
    assert not cold.home.exists()


def test_without_arguments_it_shows_its_help_and_it_knows_its_version(warm: Shell) -> None:
    """That every command's help fits and has an example is in ``test_every_command.py``."""
    assert warm.run().out == warm.run("--help").out
    assert "celery-collectors" in warm.run("--version").out


def test_everything_that_happened_is_shown_however_much_that_is(ledger_url: str, prefix: str) -> None:
    collectors = Collectors(Celery(prefix, broker=ledger_url), ledger=ledger_url, prefix=prefix)

    @collectors.collector
    def one(topic: str) -> list[str]:
        return [topic]

    request = collectors.request("x")
    for level in ("high", "low") * 1250:  # five pages of events
        request.reprioritise(level)
    assert sum(event.priority != "" for event in request.recorded()) == 2500
    collectors.close()
