"""The small parts: durations, text, tables of states."""

from __future__ import annotations

import doctest
import json

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_collectors.cli import duration, exit_codes, lines, look, output, progress, since, text
from celery_collectors.cli.group import collectors
from celery_collectors.cli.live import _fitting
from celery_collectors.cli.progress import Line
from celery_collectors.cli.wanted import wanted_from
from celery_collectors.model import RequestState, RunState


@pytest.mark.parametrize("module", [duration, exit_codes, lines, look, output, progress, since, text])
def test_the_examples_in_docstrings_are_true(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "meant_s"), [("30", 30), ("30s", 30), ("2m", 120), ("1h30m", 5400), ("0.5s", 0.5), ("2m500ms", 120.5)]
)
def test_durations(typed: str, meant_s: float) -> None:
    assert duration.seconds(typed) == pytest.approx(meant_s)


@pytest.mark.parametrize("typed", ["", "s", "-1", "1d", "1 s", "1m2h", "1e3", "²", "nan", "inf", "30s30s"])
def test_what_is_no_duration(typed: str) -> None:
    with pytest.raises(ValueError, match="1h30m"):
        duration.seconds(typed)


@given(st.text())
def test_printable_text_is_printable(content: str) -> None:
    assert text.printable(content).isprintable()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_reads_back_the_same(value: object) -> None:
    assert json.loads(text.as_json(value)) == value


@given(st.recursive(st.floats(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_numbers_that_json_does_not_know_are_null(value: object) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(text.as_json(value), parse_constant=refuse)


@pytest.mark.parametrize("typed", ["", "yesterday", "2026-13-01", "-1h", "99999999999999999h"])
def test_what_is_no_moment(typed: str) -> None:
    with pytest.raises(ValueError, match="2026-11-28T08:00"):
        since.moment(typed)


@given(st.lists(st.integers() | st.dictionaries(st.text(), st.integers())))
def test_an_array_in_pieces_is_the_array(items: list[object]) -> None:
    assert json.loads("".join(output.json_array(items))) == items


def test_every_state_has_a_look_and_ends_are_known() -> None:
    for state in (*RunState, *RequestState):
        assert look.icon(state) and look.icon(state, "ascii").isascii()
    assert {str(state) for state in RunState} - {"queued", "running", "retrying"} == progress.ENDED


def test_of_many_lines_those_that_matter_are_shown() -> None:
    many = [Line(f"c{n}", state="ok") for n in range(100)]
    many[70].state = "running"
    many[90].state = "failed"
    shown, more = _fitting(many, 5)
    assert {"c70", "c90"} <= {line.name for line in shown}
    assert len(shown) + more == 100


def test_advice_has_what_was_said_but_for_passwords() -> None:
    said = wanted_from(click.Context(collectors), app="news", broker="amqp://u:pw@h//", ledger="redis://h/1")
    assert said.command == "collectors --app news --broker 'amqp://u:**@h//' --ledger redis://h/1"
