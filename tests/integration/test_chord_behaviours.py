"""What users of Celery's chord rely on, where no other test says it: what we keep, and what we change on purpose.

The whole list is docs/explanation/chord-behaviours.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import group

from celery_collectors import ChordFailed, chord
from celery_collectors.settings import redis_url
from tests.integration import chord_app
from tests.integration.chord_app import add, echo, ends, fail, gather, retried
from tests.integration.chord_world import Chords, chords, no_worker, until

__all__ = ["chords", "no_worker"]

pytestmark = pytest.mark.usefixtures("chords")


def states(result: Any) -> dict[str, str]:
    return {name: str(one.state) for name, one in result.report().outcomes.items()}


# Kept ---------------------------------------------------------------------------------------------------


def test_a_group_in_a_header_stands_for_its_members() -> None:
    special = f"{chord_app.app.conf.task_default_queue}.special"
    inner = group(echo.s(2), group(chord_app.introspect.s(), echo.s(4))).set(queue=special)
    result = chord([echo.s(1), inner, group([])])(gather.s())
    one, two, seen, four = result.get(timeout=20)
    assert ([one, two, four], seen["queue"]) == ([1, 2, 4], special)
    assert list(result.report().outcomes) == ["echo[0]", "echo[1]", "introspect", "echo[3]"]


def test_a_soft_time_limit_that_a_member_deals_with_itself() -> None:
    result = chord([add.s(1, 2), chord_app.gives_in.s().set(soft_time_limit=1)], deadline=20)(gather.s())
    assert result.get(timeout=20) == [3, "as far as it got"]
    assert states(result) == {"add": "ok", "gives_in": "ok"}


def test_a_time_that_is_said_in_the_call_holds_for_every_member(chords: Chords) -> None:
    word = chords.word()
    result = chord([retried.s(word, 0), retried.s(word, 0)], gather.s(), deadline=20).apply_async(countdown=1)
    assert set(states(result).values()) == {"queued"}
    assert result.get(timeout=20) == [[0, 0], [0, 0]]
    (_, first), (_, second) = chords.noted(word)
    created_at = result.report().created_at.timestamp()
    assert min(first, second) - created_at >= 0.9


def test_a_callback_may_have_itself_replaced(chords: Chords) -> None:
    link = chords.word()
    result = chord([echo.s(1)])(ends.si("replace-chain"), link=chord_app.linked.s(link))
    assert result.get(timeout=20) == 6
    assert until(lambda: chords.noted(link), "its link is called") == [6]


def test_several_at_once_get_their_own_results_and_leave_no_subscription(chords: Chords) -> None:
    with redis.Redis.from_url(redis_url(chords.urls["CELERY_RESULT_BACKEND"])) as backend:
        before = set(backend.pubsub_channels())
        results = [chord([add.s(number, 1), echo.s(number)])(gather.s()) for number in range(10)]
        assert [result.get(timeout=20) for result in results] == [[number + 1, number] for number in range(10)]
        assert set(backend.pubsub_channels()) <= before


def test_what_is_stamped_on_a_member_arrives() -> None:
    member = chord_app.stamps.s()
    member.stamp(tenant="t")
    alone = member.clone().delay().get(timeout=20)
    assert chord([member])(gather.s()).get(timeout=20) == [alone]
    assert set(alone) == {"tenant"}


def test_what_succeeded_can_be_had_though_it_was_not_enough(chords: Chords) -> None:
    word = chords.word()
    header = [echo.s(["a"]), chord_app.gated.s(word) | fail.si(), echo.s(["b"])]
    result = chord(header, min_ok=3, deadline=20)(gather.s())
    until(lambda: list(states(result).values()).count("ok") == 2, "two have succeeded")
    chords.write(word)
    with pytest.raises(ChordFailed):
        result.get(timeout=20)
    assert list(result.request.items()) == ["a", "b"]


# Changed ------------------------------------------------------------------------------------------------


def test_a_headers_generator_is_read_to_its_end_before_anything_starts(chords: Chords) -> None:
    """So one that breaks off has sent nothing."""
    word = chords.word()

    def breaks_off() -> Iterator[Any]:
        yield chord_app.noted.s(word)
        raise LookupError("no more hosts")

    known = len(chords.collectors.list(limit=1000).requests)
    with pytest.raises(LookupError):
        chord(breaks_off())(gather.s())
    assert chord([echo.s(1)])(gather.s()).get(timeout=20) == [1], "what was sent before would have run before"
    assert (chords.noted(word), len(chords.collectors.list(limit=1000).requests)) == ([], known + 1)


def test_a_member_can_not_add_another() -> None:
    result = chord([chord_app.joins_in.s(), echo.s(1)])(gather.s())
    assert result.get(timeout=20) == [1]
    assert "not member of any chord" in result.report().outcomes["joins_in"].error.message


def test_the_errback_is_called_once_whatever_the_apps_setting_for_headers(
    chords: Chords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With this setting Celery calls it for each failed member as well."""
    monkeypatch.setitem(chords.app.conf, "task_allow_error_cb_on_chord_header", True)
    word, own = chords.word(), chords.word()
    header = [fail.s(), fail.s(), fail.s().set(link_error=chord_app.noted.si(own))]
    result = chord(header, gather.s().on_error(chord_app.noted.si(word))).apply_async()
    with pytest.raises(ChordFailed):
        result.get(timeout=20)
    until(lambda: chords.noted(word) and chords.noted(own), "both are called")

    def settled() -> bool:
        events = result.request._reader.events(result.request_id)
        return any(event.subject == "link" and event.state == "ok" for event in events)

    until(settled, "it is settled")
    assert (len(chords.noted(word)), len(chords.noted(own))) == (1, 1)


def test_it_is_no_signature(chords: Chords) -> None:
    """What it is made of is: those can be stored and sent, and it be made of them elsewhere."""
    with pytest.raises(TypeError):
        json.dumps(chord([echo.s(1)], gather.s()))
    header, body = json.loads(json.dumps([[echo.s(1), echo.s(2) | echo.s()], gather.s()]))
    assert chord(header, body, app=chords.app)().get(timeout=20) == [1, 2]


def test_nobody_is_its_results_parent_and_it_has_no_children() -> None:
    result = chord([echo.s(1)])(gather.s())
    assert result.get(timeout=20) == [1]
    assert (result.parent, result.children) == (None, None)
