"""What a chord can't be made of is refused before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import celery
import pytest
import redis
from celery import Signature, chain, group
from kombu.exceptions import EncodeError

from celery_collectors import chord
from celery_collectors.errors import DeclarationError, PolicyError, RequestError
from celery_collectors.settings import redis_url
from tests.integration.chord_app import add, clean, echo, flaky_source, gather, join, linked, on_error, routed, total
from tests.integration.chord_world import Chords, no_worker

__all__ = ["no_worker"]

ours = chord([echo.s(1)], gather.s())
e = echo.s(1)


@pytest.fixture(autouse=True)
def nothing_sent(no_worker: Chords) -> Iterator[None]:
    """Neither a message nor a request is there afterwards."""
    yield
    left = []
    for url in no_worker.urls.values():
        with redis.Redis.from_url(redis_url(url)) as client:
            left += [
                key for key in client.scan_iter() if not key.startswith(b"_kombu.binding") and b":shards" not in key
            ]
    assert left == []


@pytest.mark.parametrize(
    "header",
    [
        pytest.param([ours], id="a chord of ours"),
        pytest.param([celery.chord([e], gather.s())], id="a chord of Celery's"),
        pytest.param([group(e, e) | gather.s()], id="a group that Celery makes a chord of"),
        pytest.param([group(e, ours)], id="a chord of ours in a group"),
        pytest.param([e | group(e, e)], id="a chain with a group"),
        pytest.param([chain()], id="a chain of nothing"),
        pytest.param([echo.chunks([(1,), (2,)], 1)], id="chunks"),
        pytest.param([clean.s()], id="a stage"),
        pytest.param([e | total.s()], id="a stage in a chain"),
        pytest.param([join.s()], id="the gathering stage"),
        pytest.param([None], id="nothing"),
        pytest.param([echo], id="a task without its arguments"),
        pytest.param("echo", id="text"),
        pytest.param(3, id="a number"),
        pytest.param([echo.s(1, 2)], id="too many arguments"),
        pytest.param([add.s(1)], id="too few arguments"),
        pytest.param([echo.s(valu=1)], id="another name"),
        pytest.param([e | add.s(1, 2)], id="too many arguments in a chain's step"),
        pytest.param([e | echo.si()], id="too few arguments in an immutable step"),
        pytest.param([flaky_source.s()], id="a collector without its topic"),
    ],
)
def test_no_header(header: Any) -> None:
    with pytest.raises(TypeError):
        chord(header)(gather.s())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="none"),
        pytest.param(gather.s() | e, id="a chain"),
        pytest.param(group(gather.s(), gather.s()), id="a group"),
        pytest.param(celery.chord([e], gather.s()), id="a chord of Celery's"),
        pytest.param(ours, id="a chord of ours"),
        pytest.param(gather, id="a task without its arguments"),
        pytest.param(gather.s(1), id="too many arguments"),
        pytest.param(echo.si(), id="too few arguments"),
        pytest.param(gather.s().set(countdown=1), id="countdown"),
        pytest.param(gather.s().set(expires=1), id="expires"),
        pytest.param(flaky_source.s(), id="a collector"),
        pytest.param(clean.s(), id="the cleanup stage"),
        pytest.param(join.si([]), id="the gathering stage without the data"),
        pytest.param(gather.s().set(link=e | e), id="a chain as link"),
        pytest.param(gather.s().set(link_error=group(e)), id="a group as errback"),
        pytest.param(gather.s().set(link=linked.s()), id="too few arguments of a link"),
        pytest.param(gather.s().set(link_error=on_error.s(1, 2)), id="too many arguments of an errback"),
    ],
)
def test_no_callback(body: Any) -> None:
    with pytest.raises(TypeError):
        chord([e], body)()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: ours | e, id="ours | task"),
        pytest.param(lambda: e | ours, id="task | ours"),
        pytest.param(lambda: e | e | ours, id="chain | ours"),
        pytest.param(lambda: chain(e, ours), id="chain(task, ours)"),
        pytest.param(lambda: chain(ours, e), id="chain(ours, task)"),
        pytest.param(lambda: group(ours).apply_async(), id="group(ours)"),
        pytest.param(lambda: group(e, ours).apply_async(), id="group(task, ours)"),
        pytest.param(lambda: group(one for one in (e, ours)).apply_async(), id="group(generator)"),
        pytest.param(group(e, e) | ours, id="group | ours"),
        pytest.param(lambda: celery.chord([e])(ours), id="Celery's chord with ours as callback"),
    ],
)
def test_no_part_of_a_canvas(make: Any) -> None:
    with pytest.raises(TypeError, match=r"a chord can't be (part of|followed by)|not iterable"):
        make()


@pytest.mark.parametrize("policy", [{"min_ok": 2}, {"required": ["else"]}, {"first": 0}, {"deadline": 0}])
def test_no_policy_that_can_not_be_met(policy: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        chord([e], **policy)(gather.s())


def test_no_name_that_is_none() -> None:
    with pytest.raises(RequestError, match="required takes a name or a list of names, not 5"):
        chord([e], required=5)  # type: ignore[arg-type]


def test_no_other_request_id_than_a_uuid() -> None:
    with pytest.raises(RequestError):
        chord([e], request_id="mine")(gather.s())


def test_no_arguments_that_the_serializer_can_not_take() -> None:
    with pytest.raises(EncodeError):
        chord([echo.s(object())])(gather.s())


def test_no_app_without_collectors() -> None:
    alone = celery.Celery("alone", set_as_current=False)
    with pytest.raises(DeclarationError, match="has no Collectors"):
        chord([Signature("a", app=alone)])(Signature("b", app=alone))


def test_no_callback_yet() -> None:
    with pytest.raises(TypeError, match="no callback yet"):
        chord([e]).link(routed.s())
