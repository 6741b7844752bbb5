"""How the tests' apps are made: under names of this test session, because the servers may not be ours alone."""

from __future__ import annotations

import os
from collections.abc import Mapping

from celery import Celery

from tests.servers import redis

SESSION = "COLLECTORS_TEST_SESSION"  # a word in every queue, exchange and key; workers inherit it


def session(env: Mapping[str, str] = os.environ) -> str:
    """This session's word."""
    return env.get(SESSION, "alone")


def on_the_broker(name: str, env: Mapping[str, str] = os.environ) -> tuple[list[str], list[str]]:
    """The queues and the exchanges of an app and its workers."""
    own = f"{name}-{session(env)}"
    queues = [f"collectors.{own}.v1", f"celery.{own}"]
    return queues, [*queues, f"{queues[1]}.pidbox", f"reply.{queues[1]}.pidbox", f"celeryev.{own}"]


def make_app(name: str, env: Mapping[str, str] = os.environ) -> Celery:
    """An app that shares nothing with what else may use the same servers."""
    app = Celery(f"{name}-{session(env)}")
    app.conf.update(
        task_default_queue=f"celery.{app.main}",
        control_exchange=f"celery.{app.main}",
        event_exchange=f"celeryev.{app.main}",
    )
    if os.environ.get(redis.VARIABLE):  # on a Redis of our own it is as a user has it
        keys = {"global_keyprefix": f"{app.main}:"}
        app.conf.update(broker_transport_options=keys, result_backend_transport_options=keys)
    return app
