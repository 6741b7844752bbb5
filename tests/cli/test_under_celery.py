"""The same commands as ``celery -A X collectors …``."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from tests.cli.conftest import UUID, Shell, until

pytestmark = pytest.mark.skipif(
    not [found for found in entry_points(group="celery.commands") if found.name == "collectors"],
    reason="the package is on the path, but not installed",
)
CELERY = ("celery",)


def test_the_embedded_engine_answers(warm: Shell) -> None:
    running = warm.start("-A", "shop", "collectors", "collect", "sour:grapes", "--json", program=CELERY)
    assert running.process.wait(30) == 3, running.err
    assert '"state": "partial"' in running.done().out


def test_a_broker_that_celery_was_told_is_used(warm: Shell, ledger_url: str) -> None:
    warm.variables["COLLECTORS_LEDGER"] = ledger_url.replace("=0", "=1")
    servers = ("-A", "shop", "-b", ledger_url)
    worker = warm.start(*servers, "worker", "--pool", "threads", "--without-mingle", program=CELERY)
    asked = warm.start(*servers, "collectors", "collect", "fast:food", program=CELERY).done()
    assert asked.code == 0, asked.err
    listed = warm.start(*servers, "collectors", "requests", "list", "--state", "complete", "--json", program=CELERY)
    assert UUID.search(listed.done().out)
    worker.process.terminate()
    until(lambda: worker.process.poll() is not None, "the worker ends")


def test_errors_look_the_same(warm: Shell) -> None:
    for arguments, code in ((["collect"], 2), (["collect", "x", "--nope"], 2), (["requests", "show", "0" * 32], 6)):
        done = warm.start("-A", "shop", "collectors", *arguments, program=CELERY).done()
        assert done.code == code
        assert "\nerror: " in "\n" + done.err
        assert "Usage:" not in done.err
    done = warm.start("-A", "shop", "collectors", "--app", "shop", "list", program=CELERY).done()
    assert (done.code, "the app is given twice" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "error: there is no ledger: give Collectors"),
        ({"COLLECTORS_TIMEOUT_S": "soon"}, "timeout_s='soon'"),
        ({"COLLECTORS_LEDGER": "mysql://x"}, "the ledger must be a Redis or Valkey URL"),
    ],
)
def test_a_worker_that_could_not_work_ends_with_a_sentence(warm: Shell, variables: dict[str, str], words: str) -> None:
    warm.variables.update(variables)
    done = warm.start("-A", "shop", "worker", program=CELERY).done()
    assert (done.code, words in done.err) == (1, True), done.err


def test_a_worker_of_other_settings_than_its_ledger_ends_with_a_sentence(warm: Shell, ledger_url: str) -> None:
    """It would take messages away from those that can work."""
    warm.variables |= {"COLLECTORS_LEDGER": ledger_url, "COLLECTORS_BROKER": ledger_url}
    assert warm.start("-A", "shop", "collectors", "requests", "list", program=CELERY).done().code == 0
    warm.variables["COLLECTORS_SHARDS"] = "3"
    done = warm.start("-A", "shop", "worker", program=CELERY).done()
    assert (done.code, "set COLLECTORS_SHARDS=4, or use another" in done.err) == (1, True), done.err
    assert "Traceback" not in done.err
