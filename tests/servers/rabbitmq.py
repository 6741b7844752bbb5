"""A RabbitMQ of the test session's own: loopback only, with its own port mapper, cookie, name and data folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers.server import Daemon, Server, free_ports, program

VARIABLE = "COLLECTORS_TEST_AMQP_URL"
# Debian's program in /usr/sbin changes to the user rabbitmq, and refuses everybody but root: take what it calls.
PLACES = ("/usr/lib/rabbitmq/bin", "/usr/local/opt/rabbitmq/sbin", "/opt/homebrew/opt/rabbitmq/sbin")


@contextmanager
def rabbitmq_of_our_own(*, tls: Path | None = None) -> Iterator[Server]:
    """Start a RabbitMQ, and stop it when the block ends.

    Args:
        tls: A folder with certificates; its URL is then that of a TLS listener.

    Raises:
        Missing: when there is none on this machine.
    """
    found = {"package": "rabbitmq-server", "url_variable": VARIABLE}
    command = program("rabbitmq-server", *PLACES, **found)
    mapper = program("epmd", "/usr/lib/erlang/bin", **found)
    port, tls_port, *others = free_ports(4)
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="cc-rmq-", ignore_cleanup_errors=True)))
        log = folder / "log"
        env = _environment(folder, port, *others)
        (folder / "rabbitmq.conf").write_text(_over_tls(tls, tls_port) if tls else "")
        # In the foreground and ours to stop: RabbitMQ would start one that outlives it.
        mapping = [mapper, "-port", env["ERL_EPMD_PORT"], "-address", "127.0.0.1"]
        ports = Daemon(mapping, folder / "epmd.log", name="epmd", env=env)
        daemon = Daemon([command], log, name="beam.smp", ready="Server startup complete", env=env)
        for one in (ports, daemon):
            running.callback(one.kill)
            one.start()
        where = f"amqps://guest:guest@localhost:{tls_port}//" if tls else f"amqp://guest:guest@127.0.0.1:{port}//"
        yield Server(url=where, ours=True, log=log, daemon=daemon)


def _over_tls(folder: Path, port: int) -> str:
    files = {"cacertfile": "ca.pem", "certfile": "cert.pem", "keyfile": "key.pem"}
    options = [f"ssl_options.{name} = {folder / file}" for name, file in files.items()]
    return "\n".join([f"listeners.ssl.1 = 127.0.0.1:{port}", *options, "ssl_options.verify = verify_none", ""])


def _environment(folder: Path, port: int, distribution_port: int, mapper_port: int) -> dict[str, str]:
    (folder / "enabled_plugins").write_text("[].\n")
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
    return {
        **theirs,
        "HOME": str(folder),  # for the cookie
        "ERL_EPMD_PORT": str(mapper_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"collectors-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
    }
