"""Broker and ledger over TLS, with an authority of one's own: what a URL can say, and what it can't."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_collectors.errors import LedgerUnavailable
from tests.integration.conftest import Engine, engine_on
from tests.integration.setups import SetUp
from tests.servers.fixtures import a_rabbitmq, a_redis

pytestmark = pytest.mark.heavy


def verified(url: str, certificates: Path) -> str:
    """The same, with what redis-py and kombu need to know whom they talk to."""
    return f"{url}?ssl_cert_reqs=required&ssl_ca_certs={certificates / 'ca.pem'}"


def test_redis_as_both_by_its_url_alone(certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_redis(tls=certificates) as redis:
        broker, ledger, backend = (verified(f"{redis.url}/{number}", certificates) for number in range(3))
        setup = SetUp(name="redis", broker_url=broker, ledger_url=ledger, backend_url=backend)
        with engine_on(setup, tmp_path, monkeypatch) as engine:
            _answers(engine)
            engine.collectors.configure(ledger=f"{redis.url}/1")
            with pytest.raises(LedgerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                engine.collectors.request("python", deadline=5)


def test_rabbitmq_by_its_url_and_the_trust_store(
    certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kombu takes no TLS options from an ``amqps://`` URL; an authority of one's own goes where OpenSSL looks."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    with a_rabbitmq(tls=certificates) as rabbitmq, a_redis(tls=certificates) as redis:
        setup = SetUp(
            name="rabbitmq",
            broker_url=rabbitmq.url,
            ledger_url=verified(f"{redis.url}/1", certificates),
            backend_url=verified(f"{redis.url}/2", certificates),
        )
        with engine_on(setup, tmp_path, monkeypatch) as engine:
            _answers(engine)
            monkeypatch.delenv("SSL_CERT_FILE")
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                engine.connection().connect()
            monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))


def _answers(engine: Engine) -> None:
    engine.worker("prefork", 1)
    report = engine.collectors.request("python", deadline=20).wait()
    assert (report.state, report.result["items"]) == ("complete", 1)
    assert "insecure" not in engine.logs()
