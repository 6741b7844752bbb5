"""What a project may declare, and what is refused at once."""

from __future__ import annotations

from functools import partial, update_wrapper
from typing import Any

import pytest
from celery import Celery

from celery_collectors import Collectors
from celery_collectors.errors import DeclarationError, NoCollectorError, RequestError, TopicError


@pytest.fixture
def collectors() -> Collectors:
    return Collectors(Celery("declaring"))


def declare(collectors: Collectors, source: str) -> Any:
    @collectors.collector(name=source)
    def fetch(topic: str) -> list[str]:
        return [source]

    return fetch


def test_collectors_made_in_a_loop_are_their_own_tasks(collectors: Collectors) -> None:
    tasks = {source: declare(collectors, source) for source in ("alpha", "beta", "gamma")}
    assert {source: task("python") for source, task in tasks.items()} == {source: [source] for source in tasks}
    assert len({task.name for task in tasks.values()}) == 3
    found: list[str] = []

    @collectors.process
    def take(items: Any) -> None:
        found.extend(items)

    collectors.run_local("python", deadline=5)
    assert found == ["alpha", "beta", "gamma"]


def test_names_are_unique(collectors: Collectors) -> None:
    declare(collectors, "alpha")
    with pytest.raises(DeclarationError, match=r"alpha is declared twice; give one of the two another name="):
        declare(collectors, "alpha")

    def alpha(items: Any) -> Any:
        return items

    with pytest.raises(DeclarationError, match="declared twice"):
        collectors.cleanup(alpha)


def test_one_stage_of_each_kind(collectors: Collectors) -> None:
    @collectors.cleanup
    def merge(items: Any) -> Any:
        return items

    with pytest.raises(DeclarationError, match="is the cleanup stage already"):

        @collectors.cleanup
        def another(items: Any) -> Any:
            return items


def test_one_collectors_per_app(collectors: Collectors) -> None:
    with pytest.raises(DeclarationError, match="has a Collectors already"):
        Collectors(collectors.app)
    assert Collectors.of(collectors.app) is collectors
    with pytest.raises(DeclarationError, match="has no Collectors"):
        Collectors.of(Celery("other"))


def test_a_parameter_that_cannot_be_filled_is_named(collectors: Collectors) -> None:
    with pytest.raises(DeclarationError, match=r"'lonely' wants 'api_key', which can't be filled in"):

        @collectors.collector
        def lonely(topic: str, api_key: str) -> list[str]:
            return [api_key]

    def none() -> list[str]:
        return []

    with pytest.raises(DeclarationError, match="needs a first parameter"):
        collectors.collector(none)


class Callable:
    def __call__(self, topic: str) -> list[str]:
        return [topic]


def plain(topic: str, depth: int = 1) -> list[Any]:
    return [topic, depth]


@pytest.mark.parametrize(
    ("what", "is_a"),
    [
        (lambda topic: [topic], "a lambda"),
        (partial(plain, depth=2), "of type partial"),
        (update_wrapper(partial(plain, depth=2), plain), "of type partial"),
        (Callable(), "of type Callable"),
        (len, "of type builtin_function_or_method"),
        ("alpha", "of type str"),
    ],
)
def test_what_celery_makes_no_task_of_is_refused_at_once(collectors: Collectors, what: Any, is_a: str) -> None:
    for options in ({}, {"name": "alpha"}):
        with pytest.raises(DeclarationError, match=rf"a collector is a function, def name\(topic\): …; this is {is_a}"):
            collectors.collector(**options)(what) if options else collectors.collector(what)
    with pytest.raises(DeclarationError, match=rf"a cleanup stage is a function, def name\(items\): …; this is {is_a}"):
        collectors.cleanup(what)


def test_a_method_can_be_a_collector(collectors: Collectors) -> None:
    class Source:
        def fetch(self, topic: str) -> list[str]:
            return [topic]

    collectors.collector(Source().fetch)
    assert collectors.run_local("python", deadline=5).outcomes["fetch"].items == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout": 0}, "timeout must be more than 0 seconds, not 0"),
        ({"timeout": "10"}, "timeout must be more than 0 seconds, not '10'"),
        ({"timeout": float("inf")}, "timeout must be more than 0 seconds, not inf"),
        ({"retries": -1}, "retries must be a whole number, 0 or more, not -1"),
        ({"retries": "2"}, "retries must be a whole number, 0 or more, not '2'"),
        ({"retries": 1.5}, "retries must be a whole number, 0 or more, not 1.5"),
        ({"topics": 5}, r"topics takes a glob or several, such as 'airport:\*', not 5"),
        ({"topics": []}, r"topics takes a glob or several, such as 'airport:\*', not \[\]"),
        ({"name": 5}, "name must be a string of printable characters"),
        ({"name": "a\nb"}, "name must be a string of printable characters"),
    ],
)
def test_a_value_that_can_not_work_is_refused_where_it_is_declared(
    collectors: Collectors, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(DeclarationError, match=words):
        collectors.collector(**options)(plain)


@pytest.mark.parametrize("app", ["news", None])
def test_collectors_are_of_a_celery_app(app: Any) -> None:
    with pytest.raises(DeclarationError, match="takes a Celery app, not"):
        Collectors(app)


def test_parameters_are_filled_by_name_and_defaults_stay(collectors: Collectors) -> None:
    @collectors.collector
    def asks(subject: str, request_id: str, depth: int = 3, *, topic: str = "unset") -> list[Any]:
        return [subject, len(request_id), depth, topic]

    @collectors.process
    def keep(items: Any, report: Any) -> list[Any]:
        return [*items, report.outcomes["asks"].items]

    assert collectors.run_local("python", deadline=5).result == ["python", 36, 3, "python", 4]


def test_topics_are_routed_checked_and_normalised(collectors: Collectors) -> None:
    @collectors.collector(topics="airport:*")
    def runways(topic: str) -> list[str]:
        return [topic]

    @collectors.topic("airport:*")
    def airport(topic: str) -> str:
        if len(topic) != 11:
            raise ValueError("give three letters")
        return "airport:" + topic[8:].upper()

    assert collectors.run_local("airport:jfk", deadline=5).topic == "airport:JFK"
    with pytest.raises(TopicError, match="is malformed: give three letters"):
        collectors.run_local("airport:x")
    with pytest.raises(NoCollectorError, match=r"no collector takes the topic 'python'; those declared take airport"):
        collectors.run_local("python")
    for topic, words in (("", "empty"), ("a\nb", "control"), ("x" * 513, "513 characters")):
        with pytest.raises(TopicError, match=words):
            collectors.run_local(topic)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"deadline": "5"}, "deadline must be a number of seconds"),
        ({"deadline": -1}, "deadline must be a number of seconds"),
        ({"messages": "some"}, "messages must be one of auto, each"),
        ({"priority": "urgent"}, "priority must be one of low, normal, high"),
        ({"min_ok": 2}, "min_ok=2 can't be met: 1 are asked"),
        ({"required": "beta"}, "required='beta' is not among those asked"),
        ({"only": "beta"}, "there is no collector 'beta'"),
        ({"request_id": "mine"}, "a request_id is a UUID"),
        ({"request_id": 5}, "a request_id is a UUID, and 5 is not one"),
        ({"deadline": True}, "deadline must be a number of seconds"),
        ({"required": 5}, "required takes a name or a list of names, not 5"),
        ({"only": [b"alpha"]}, "only takes a name or a list of names, not b'alpha'"),
        ({"key": ""}, "a key is a string that is not empty, not ''"),
        ({"key": 5}, "a key is a string that is not empty, not 5"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(
    collectors: Collectors, options: dict[str, Any], words: str
) -> None:
    declare(collectors, "alpha")
    with pytest.raises(RequestError, match=words):
        collectors.request("python", **options)


def test_tasks_stay_with_their_app(collectors: Collectors) -> None:
    declare(collectors, "alpha")
    other = Celery("other")
    other.finalize()
    assert not [name for name in other.tasks if name.endswith(".alpha")]
    collectors.app.finalize()
    assert [name for name in collectors.app.tasks if name.endswith(".alpha")]
