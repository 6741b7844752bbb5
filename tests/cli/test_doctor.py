"""``doctor`` names what weakens a promise, and says what to do about it; on real servers that are set up badly."""

from __future__ import annotations

import os
import shlex
import ssl
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from amqp.exceptions import AccessRefused, NotFound
from celery import Celery
from kombu import Connection

from celery_collectors import Collectors
from celery_collectors.cli.disk_checks import unused
from celery_collectors.cli.encryption_checks import of_amqp
from celery_collectors.cli.payload_checks import payloads
from celery_collectors.cli.place import Place
from celery_collectors.cli.server_checks import broker_product, queue_refused
from celery_collectors.ledger import Ledger
from celery_collectors.settings import Settings
from tests.cli.conftest import Shell, until
from tests.servers.fixtures import a_redis
from tests.servers.server import Server

CELERY = ("celery",)
BAD_SERVERS: dict[str, tuple[Mapping[str, str], str, str, str, str]] = {
    # its configuration, the check, its state, words of its message, words of its remedy
    "as docker run starts it": ({"appendonly": "no"}, "persistence", "warn", "file is off", "CONFIG SET appendonly"),
    "flushed at leisure": ({"appendfsync": "no"}, "persistence", "warn", "appendfsync no", "everysec"),
    "a cache": (
        {"maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"},
        "eviction", "fail", "allkeys-lru, with maxmemory 100 MiB", "noeviction",
    ),
    "a cache, once it is given a size": (
        {"maxmemory-policy": "volatile-ttl"},
        "eviction", "warn", "volatile-ttl; nothing is thrown away only because maxmemory is not set", "noeviction",
    ),
}  # fmt: skip


def checks_of(shell: Shell, *arguments: str) -> dict[str, dict[str, Any]]:
    """What the doctor found, by name."""
    found = shell.run(*arguments, "doctor", "--json").json()["checks"]
    return {check["name"]: check for check in found}


def on(broker: str, ledger: str, app: str = "shop") -> tuple[str, ...]:
    return ("--app", app, "--broker", broker, "--ledger", ledger)


def test_a_whole_engine_is_found_well(warm: Shell) -> None:
    done = warm.run("--app", "shop", "doctor", "--json")
    found = done.json()
    assert (done.code, found["ok"], found["version"]) == (0, True, 1)
    assert [check["name"] for check in found["checks"]] == [
        "versions", "app", "deduplication", "content", "broker", "ledger",
        "persistence", "eviction", "clock", "payloads", "workers", "worker versions", "worker clocks", "disk",
    ]  # fmt: skip
    assert {check["state"] for check in found["checks"]} == {"ok"}
    assert "embedded" in warm.run("--app", "shop", "doctor").out


def test_what_can_not_be_reached_or_found(warm: Shell) -> None:
    assert warm.run("--app", "nope", "doctor").code == 1
    done = warm.run(*on("redis://127.0.0.1:1/0", "redis://127.0.0.1:1/1"), "doctor", "--json")
    failed = [check for check in done.json()["checks"] if check["state"] == "fail"]
    assert (done.code, [check["name"] for check in failed]) == (5, ["broker", "ledger"])
    assert all(check["remedy"].startswith("start it, or mend") for check in failed)
    assert ":**@" not in failed[0]["message"]


@pytest.mark.parametrize(
    ("variables", "name", "remedy"),
    [
        ({"COLLECTORS_SHARDS": "9"}, "ledger", "set this program as the ledger was made"),
        ({"COLLECTORS_DEADLINE_S": "soon"}, "app", "mend that"),
        ({"COLLECTORS_HOME": "/proc/nowhere"}, "engine", "use servers of your own: --broker"),
        ({"COLLECTORS_LEDGER": "mysql://x", "CELERY_BROKER_URL": "redis://127.0.0.1:1"}, "app", "mend that"),
    ],
)
def test_whatever_fails_has_a_remedy(warm: Shell, variables: dict[str, str], name: str, remedy: str) -> None:
    warm.variables |= variables
    failed = {one: check for one, check in checks_of(warm, "--app", "shop").items() if check["state"] == "fail"}
    assert remedy in failed[name]["remedy"]
    assert all(check["remedy"] for check in failed.values())


def test_a_place_for_payloads_that_can_not_be_is_no_ledger_of_another_make(cold: Shell, ledger_url: str) -> None:
    cold.variables["COLLECTORS_PAYLOADS"] = "s3://bucket?secret_access_key=secret"
    found = checks_of(cold, *on(ledger_url, ledger_url.replace("=0", "=7")))["ledger"]
    assert (found["state"], found["remedy"].partition(";")[0]) == ("fail", "mend that")


@pytest.mark.parametrize("name", list(BAD_SERVERS))
def test_a_redis_that_may_forget(cold: Shell, name: str) -> None:
    options, check, state, message, remedy = BAD_SERVERS[name]
    with a_redis(options) as server:
        found = checks_of(cold, *on(f"{server.url}/0", f"{server.url}/1"))
    assert found[check]["state"] == state
    assert message in found[check]["message"]
    assert remedy in found[check]["remedy"]
    assert "\n" not in found[check]["remedy"]
    others = {"persistence", "eviction", "clock", "ledger", "broker"} - {check}
    assert {other: found[other]["state"] for other in others} == dict.fromkeys(others, "ok")


def test_a_redis_that_tells_us_nothing(cold: Shell) -> None:
    """A server that somebody else runs often forbids CONFIG, seldom INFO."""
    with a_redis() as server, redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL SETUSER half on >pw ~* &* +@all -config")  # type: ignore[no-untyped-call]
        client.execute_command("ACL SETUSER none on >pw ~* &* +@all -config -info")  # type: ignore[no-untyped-call]
        urls = {user: server.url.replace("//", f"//{user}:pw@") + "/1" for user in ("half", "none")}
        assert checks_of(cold, *on(server.url, urls["half"]))["persistence"]["state"] == "ok"
        found = checks_of(cold, *on(server.url, urls["none"]))
    assert (found["ledger"]["state"], found["persistence"]["state"], found["eviction"]["state"]) == (
        "ok",
        "warn",
        "warn",
    )
    assert "can't be seen" in found["persistence"]["message"]
    assert "+info" in found["eviction"]["remedy"]


@pytest.mark.parametrize(
    ("rules", "name", "says"),
    [
        ("~celery* &* +@all", "ledger", "permissions to access one of the keys"),
        ("~* &* +@all -@scripting", "ledger", "permissions to run the 'evalsha' command"),
        ("~* resetchannels +@all", "ledger", "channel"),
        ("~* &* +@all -hset", "payloads", "permissions to run the 'hset' command"),
    ],
)
def test_a_redis_that_lets_us_do_too_little(cold: Shell, rules: str, name: str, says: str) -> None:
    with a_redis() as server, redis.Redis.from_url(server.url) as client:
        client.execute_command(f"ACL SETUSER few on >pw {rules}")  # type: ignore[no-untyped-call]
        servers = on(server.url, server.url.replace("//", "//few:pw@") + "/1")
        found = checks_of(cold, *servers)
        asked = cold.run(*servers, "collect", "fast:food", "--deadline", "300ms")
    assert found[name]["state"] == "fail"
    assert "refuses us: " in found[name]["message"] and says in found[name]["message"]
    assert (asked.code, "error: a server refuses us: " in asked.err) == (5, True), asked.err


def test_settings_that_lose_our_messages(cold: Shell, ledger_url: str) -> None:
    found = checks_of(cold, *on(ledger_url, ledger_url.replace("=0", "=3"), app="picky"))
    assert (found["content"]["state"], found["deduplication"]["state"]) == ("fail", "fail")
    assert "accept_content has no json, only yaml" in found["content"]["message"]
    assert found["content"]["remedy"] == "set app.conf.accept_content = ['yaml', 'json']"
    assert "worker_deduplicate_successful_tasks = False" in found["deduplication"]["remedy"]


def test_nobody_consumes_our_queue(warm: Shell, ledger_url: str) -> None:
    servers = on(ledger_url, ledger_url.replace("=0", "=2"))
    done = warm.run(*servers, "doctor")
    assert done.code == 1
    assert "no worker is there, so none consumes the queue 'collectors.shop.v1'" in " ".join(done.out.split())
    remedy = checks_of(warm, *servers)["workers"]["remedy"]
    worker = warm.start(*shlex.split(remedy.removeprefix("start one: collectors ").partition(" (")[0]))
    until(lambda: checks_of(warm, *servers)["workers"]["state"] == "ok", f"it works, literally: {remedy}")
    worker.process.terminate()
    until(lambda: checks_of(warm, *servers)["workers"]["state"] == "fail", "it has ended")
    warm.variables.update({"CELERY_BROKER_URL": ledger_url, "COLLECTORS_LEDGER": servers[-1]})
    worker = warm.start("-A", "shop", "worker", "-P", "threads", "-Q", "mail", "-n", "post@office", program=CELERY)
    until(lambda: "post@office" in checks_of(warm, *servers)["workers"]["message"], "the worker reports itself")
    found = checks_of(warm, *servers)["workers"]
    assert (found["state"], found["remedy"].partition(",")[0]) == ("fail", "name collectors.shop.v1 in its -Q")
    assert "post@office consumes mail" in found["message"]
    worker.process.kill()


@pytest.mark.heavy
def test_clocks_that_are_apart(cold: Shell, ledger_url: str, tmp_path: Path) -> None:
    """The worker's own is compared by the worker, this machine's by the doctor."""
    (tmp_path / "sitecustomize.py").write_text("import time\nreal = time.time\ntime.time = lambda: real() + 30\n")
    servers = on(ledger_url, ledger_url.replace("=0", "=4"))
    assert checks_of(cold, *servers)["clock"]["state"] == "ok"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    cold.variables.update({"CELERY_BROKER_URL": ledger_url, "COLLECTORS_LEDGER": servers[-1], "PYTHONPATH": path})
    worker = cold.start("-A", "shop", "worker", "-P", "threads", "-n", "early@bird", program=CELERY)
    until(lambda: checks_of(cold, *servers).get("worker clocks", {}).get("state") == "warn", "the worker's clock")
    found = checks_of(cold, *servers)
    assert "early@bird's by +30.0 s" in found["worker clocks"]["message"]
    assert (found["clock"]["state"], found["workers"]["state"]) == ("ok", "ok")
    said = cold.start(*servers, "doctor").done().out
    assert "differs from the ledger's by 30.0 s" in said
    assert "let both machines take their time from NTP" in said
    worker.process.kill()


def test_a_rabbitmq_is_named_with_its_version(cold: Shell, rabbitmq_server: Server, ledger_url: str) -> None:
    found = checks_of(cold, *on(rabbitmq_server.url, ledger_url))["broker"]
    assert found["state"] == "ok"
    assert found["message"].startswith("RabbitMQ ")
    assert "guest:guest" not in found["message"]


def test_a_queue_that_somebody_made_otherwise(cold: Shell, rabbitmq_server: Server, ledger_url: str) -> None:
    """Neither the doctor nor anybody else redeclares it; and the doctor makes none that isn't there."""
    name = cold.variables["COLLECTORS_QUEUE"] = f"doctor.{uuid.uuid4().hex}"
    servers = on(rabbitmq_server.url, ledger_url)
    assert "will be made" in checks_of(cold, *servers)["queue"]["message"]
    with Connection(rabbitmq_server.url) as connection:
        with pytest.raises(NotFound):
            connection.channel().queue_declare(name, passive=True)
        connection.default_channel.queue_declare(name, durable=True, auto_delete=False)
        found = checks_of(cold, *servers)["queue"]
        connection.default_channel.queue_delete(name)
    assert (found["state"], "x-max-priority" in found["message"]) == ("fail", True)
    assert "COLLECTORS_QUEUE" in found["remedy"]


def test_a_queue_of_the_apps_that_somebody_made_otherwise(
    cold: Shell, rabbitmq_server: Server, ledger_url: str
) -> None:
    name = cold.variables["APP_QUEUE"] = f"app.{uuid.uuid4().hex}"
    servers = on(rabbitmq_server.url, ledger_url, app="queued")
    assert "app's queues" not in checks_of(cold, *servers)
    with Connection(rabbitmq_server.url) as connection:
        with pytest.raises(NotFound):
            connection.channel().queue_declare(name, passive=True)
        connection.default_channel.queue_declare(name, durable=True, auto_delete=False, arguments={"x-max-priority": 3})
        found = checks_of(cold, *servers)["app's queues"]
        connection.default_channel.queue_delete(name)
    assert (found["state"], name in found["message"], "x-max-priority" in found["message"]) == ("fail", True, True)


def test_a_queue_that_we_may_not_use_is_not_to_be_deleted() -> None:
    found = queue_refused("ours", AccessRefused("ACCESS_REFUSED - access to queue 'ours' refused for user 'few'"))
    assert (found.state, "refused for user 'few'" in found.message) == ("fail", True)
    assert found.remedy is not None and "set_permissions" in found.remedy and "delete" not in found.remedy


def test_a_broker_that_refuses_is_not_said_to_be_away(cold: Shell, rabbitmq_server: Server, ledger_url: str) -> None:
    name = cold.variables["COLLECTORS_QUEUE"] = f"refused.{uuid.uuid4().hex}"
    with Connection(rabbitmq_server.url) as connection:
        connection.default_channel.queue_declare(name, durable=True, auto_delete=False)
        done = cold.run(*on(rabbitmq_server.url, ledger_url), "collect", "fast:food", "--detach")
        connection.default_channel.queue_delete(name)
    assert done.code == 0, "it waits in the ledger"
    assert "refuses us: " in done.err and "can't be reached" not in done.err
    assert "'collectors doctor' looks at its queues" in done.err


def test_a_worker_of_another_version_is_named(cold: Shell, ledger_url: str) -> None:
    servers = on(ledger_url, ledger_url.replace("=0", "=5"))
    ledger = Ledger.from_url(servers[-1], Settings.load(app_name="shop", env={}))
    for worker, version in (("old@host", "0.0.1"), ("oldest@host", "")):
        ledger.beat(worker, queues=["collectors.shop.v1"], pool="prefork", processes=1, idle_s=None, version=version)
    found = checks_of(cold, *servers)["worker versions"]
    ledger.client.close()
    assert found["state"] == "warn"
    assert "old@host has 0.0.1, oldest@host has an older version, and this is celery-collectors " in found["message"]


def test_engines_that_nobody_uses_are_named(cold: Shell, tmp_path: Path) -> None:
    mine, old, used, other = (tmp_path / name for name in ("mine", "old", "used", "other"))
    for folder in (mine, old, used, other):
        folder.mkdir()
    for folder in (mine, old, used):
        (folder / "engine.lock").touch()
    (old / "data").write_bytes(bytes(3 * 2**20))
    in_two_months_s = time.time() + 60 * 24 * 3600
    os.utime(used, (in_two_months_s, in_two_months_s))
    found = unused(mine, in_two_months_s)
    assert found is not None and found.remedy is not None
    assert found.message == "1 other engine beside it, not used for 30 days, 3.0 MiB"
    assert found.remedy.endswith(f"rm -r {old}")
    assert unused(mine) is None


@pytest.mark.parametrize(
    ("product", "state"), [("RabbitMQ 3.9.29", "fail"), ("RabbitMQ 3.10.0", "ok"), ("RabbitMQ 4.1.2", "ok"), ("", "ok")]
)
def test_a_rabbitmq_that_is_too_old(product: str, state: str) -> None:
    found = broker_product(product, "amqp://host//")
    assert found.state == state
    assert (found.remedy == "use RabbitMQ 3.10 or newer") == (state == "fail")


def test_a_certificate_that_nobody_checks(cold: Shell, certificates: Path) -> None:
    with a_redis(tls=certificates) as server:
        verified = f"{server.url}?ssl_cert_reqs=required&ssl_ca_certs={certificates / 'ca.pem'}"
        done = cold.run(*on(server.url, verified), "doctor", "--json").json()["checks"]
        assert [check["state"] for check in done if check["name"] in ("broker", "ledger")] == ["ok", "ok"]
        broker, ledger = (check for check in done if check["name"] == "encryption")
        assert (broker["state"], ledger["state"]) == ("warn", "ok")
        assert "add ssl_cert_reqs=required to its URL" in broker["remedy"]
        assert "the broker's certificate is checked" in cold.run(*on(verified, verified), "doctor").out


@pytest.mark.parametrize(
    ("options", "state", "words"),
    [
        ({}, "warn", "signature, but not its name"),
        ({"server_hostname": None}, "ok", "is checked"),
        ({"cert_reqs": ssl.CERT_NONE, "server_hostname": None}, "warn", "nothing is checked"),
        ({"ssl_ca_certs": "ca.pem"}, "fail", "takes no TLS options"),
    ],
)
def test_what_an_amqps_connection_checks(options: dict[str, Any], state: str, words: str) -> None:
    found = of_amqp(options)
    assert found.state == state
    assert words in found.message


def test_an_amqps_url_with_options_is_refused_with_a_remedy(cold: Shell, ledger_url: str) -> None:
    """What kombu itself says of it is no help: an unexpected keyword argument of a private method."""
    found = checks_of(cold, *on("amqps://u:pw@127.0.0.1:1//?ssl_ca_certs=ca.pem", ledger_url))
    assert (found["encryption"]["state"], "SSL_CERT_FILE" in found["encryption"]["remedy"]) == ("fail", True)
    plain = checks_of(cold, *on("amqps://u:pw@127.0.0.1:1//", ledger_url))
    assert plain["encryption"]["state"] == "warn"


def test_where_large_values_lie_is_named_and_tried_out(ledger_url: str, tmp_path: Path) -> None:
    collectors = Collectors(Celery("doctored"), ledger=ledger_url, payloads=f"file://{tmp_path}/payloads")
    place = Place(collectors=collectors, app_name="doctored", home=None, command="collectors")
    check = payloads(place)
    assert (check.state, check.message) == ("ok", f"{tmp_path}/payloads can be written and read")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    (tmp_path / "file").touch()
    collectors.configure(payloads=f"file://{tmp_path}/file")
    check = payloads(place)
    assert (check.state, check.unreachable) == ("fail", True)
    assert f"the folder for payloads {tmp_path}/file can't be used: Not a directory" in check.message
    collectors.configure(payloads=None)
    assert payloads(place).message.startswith("the ledger's own unix://")
    collectors.close()
