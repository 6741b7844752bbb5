"""Settings: one frozen record; what is nearest to the code wins; a bad value names its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celery_collectors.errors import SettingsError
from celery_collectors.settings import Settings, is_redis_url, public_url, redis_url


class Project:
    """A folder with settings files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def load(self, overrides: dict[str, Any] | None = None, **env: str) -> Settings:
        return Settings.load(overrides, env=env, folder=self.folder)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_the_nearest_place_wins(project: Project) -> None:
    assert project.load().deadline_s == Settings().deadline_s
    project.write("pyproject.toml", "[tool.collectors]\ndeadline_s = 1\nretries = 7\n")
    assert project.load().deadline_s == 1
    project.write("collectors.toml", "deadline_s = 2\n")
    assert project.load().deadline_s == 2
    assert project.load(COLLECTORS_DEADLINE_S="3").deadline_s == 3
    assert project.load({"deadline_s": 4}, COLLECTORS_DEADLINE_S="3").deadline_s == 4
    assert project.load({"deadline_s": None}, COLLECTORS_DEADLINE_S="3").deadline_s == 3
    assert project.load(COLLECTORS_DEADLINE_S="").deadline_s == 2
    assert project.load().retries == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deadline_s", "soon"), ("deadline_s", "0"), ("deadline_s", "-1"), ("deadline_s", "nan"), ("deadline_s", "inf"),
        ("deadline_s", "1e300"), ("shards", "0"), ("shards", "2.5"), ("shards", "100000000"), ("retries", "-1"),
        ("messages", "some"), ("prefix", "a{b"), ("inline_bytes", "-1"), ("crash_cap", "0"),
    ],
)  # fmt: skip
def test_a_bad_value_names_its_place_and_itself(project: Project, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"the environment: {name}\b"):
        project.load(**{f"COLLECTORS_{name.upper()}": value})


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("collectors.toml", "retries = 1.5", r"collectors.toml: retries=1.5"),
        ("collectors.toml", "retries = true", r"collectors.toml: retries=True"),
        ("collectors.toml", "deadline_s = inf", r"collectors.toml: deadline_s"),
        ("collectors.toml", "deadlines = 1", r"collectors.toml: there is no setting 'deadlines'; there are .*"),
        ("collectors.toml", "=", r"collectors.toml can't be read"),
        ("pyproject.toml", "[tool.collectors]\nsweep_s = 0", r"\[tool.collectors\] in pyproject.toml: sweep_s"),
        ("pyproject.toml", "[tool]\ncollectors = 5", r"pyproject.toml: tool.collectors must be a table"),
        ("pyproject.toml", "tool = 5", r"pyproject.toml: tool.collectors must be a table"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named(project: Project, file: str, text: str, message: str) -> None:
    project.write(file, text)
    with pytest.raises(SettingsError, match=message):
        project.load()


def test_what_the_code_says_is_checked_too(project: Project) -> None:
    with pytest.raises(SettingsError, match=r"Collectors\(…\): there is no setting 'deadline'"):
        project.load({"deadline": 5})
    with pytest.raises(SettingsError, match=r"deadline_s must be more than 0"):
        Settings(deadline_s=0)


def test_a_renewal_must_have_a_second_chance(project: Project) -> None:
    with pytest.raises(SettingsError, match="at most half of lease_s"):
        project.load({"renew_s": 10.1})
    assert project.load({"renew_s": 10.1, "lease_s": 21}).renew_s == 10.1


def test_other_variables_of_the_environment_are_not_ours(project: Project) -> None:
    assert project.load(COLLECTORS_SOMETHING="1", DEADLINE_S="1") == Settings()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h:1/2", "redis://h:1/2"),
        ("rediss://u:p@h/0?ssl_cert_reqs=none", "rediss://u:p@h/0?ssl_cert_reqs=none"),
        ("valkey://h", "redis://h"),
        ("valkeys://h:1/2", "rediss://h:1/2"),
        ("unix:///run/s?db=3", "unix:///run/s?db=3"),
        ("redis+socket:///run/s?virtual_host=1", "unix:///run/s?db=1"),
        ("redis+socket:///run/s?virtual_host=/2", "unix:///run/s?db=2"),
        ("redis+socket:///run/s", "unix:///run/s?db=0"),
        ("socket:///run/s", "unix:///run/s?db=0"),
    ],
)
def test_ledger_urls(url: str, expected: str) -> None:
    assert redis_url(url) == expected
    assert is_redis_url(url)


@pytest.mark.parametrize("url", ["amqp://h", "db+sqlite:///x", "nonsense", ""])
def test_other_urls_are_refused(url: str) -> None:
    assert not is_redis_url(url)
    with pytest.raises(SettingsError, match="must be a Redis or Valkey URL"):
        redis_url(url)


@pytest.mark.parametrize(
    "url", ["redis://me:s3cret@db:6379/0", "redis://db/0?password=s3cret", "redis://:s3%2Fcret@db"]
)
def test_no_password_is_shown(url: str) -> None:
    assert "s3" not in public_url(url)
    assert "db" in public_url(url)


@pytest.mark.parametrize("url", [":s3cret@db:6379", "s3cret", "amqp://me:s3cret@db//"])
def test_a_ledger_url_that_is_refused_is_not_quoted(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        redis_url(url)
    assert "s3cret" not in str(refused.value)


def test_an_apps_name_keeps_its_queue_and_keys_apart() -> None:
    named = Settings.load(app_name="my news", env={})
    assert (named.prefix, named.queue) == ("collectors:my-news", "collectors.my-news.v1")
    assert Settings.load({"queue": "mine"}, app_name="news", env={"COLLECTORS_PREFIX": "p"}).queue == "mine"
    assert Settings.load(app_name=None, env={}).queue == "collectors.v1"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("/var/lib/payloads", "has no scheme"),
        ("http://me:hush@host/", "begins with http:"),
        ("file://folder/below", "a folder from the root"),
        ("file:///", "a folder from the root"),
        ("s3:///prefix", "name a bucket"),
    ],
)
def test_payloads_that_name_no_place_are_refused_and_not_repeated(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as raised:
        Settings.load({}, env={"COLLECTORS_PAYLOADS": url})
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["redis://host/2", "unix:///s?db=1", "file:///a/b", "s3://bucket/in?region=x", "memory://"]
)
def test_payloads_that_name_a_place_are_taken(url: str) -> None:
    assert Settings.load({"payloads": url}, env={}).payloads == url
