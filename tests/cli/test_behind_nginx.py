"""The recipe for nginx of ``docs/how-to/monitor.md``, as it stands there, before the page and Flower."""

from __future__ import annotations

import getpass
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.conftest import Shell, until
from tests.servers.server import free_ports

pytestmark = pytest.mark.heavy

RECIPES = Path(__file__).parents[2] / "docs" / "how-to" / "monitor.md"
PAGE, FLOWER = "collectors.example", "flower.collectors.example"
AROUND = """
daemon off; user {2}; error_log stderr; pid {0}/pid;
events {{}}
http {{ access_log off; {1} include {0}/site.conf; }}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Site:
    """What stands behind nginx, as a visitor from elsewhere sees it."""

    def __init__(self, shell: Shell, port: int, authority: Path) -> None:
        self.shell = shell
        self._url = f"https://127.0.0.1:{port}"
        trust = ssl.create_default_context(cafile=authority)
        self._client = httpx.Client(verify=trust, timeout=20, auth=("ann", "secret"))

    def ask(
        self, name: str, path: str, *, headers: Mapping[str, str] | None = None, method: str = "GET", **more: Any
    ) -> httpx.Response:
        return self._client.request(method, self._url + path, headers={"Host": name, **(headers or {})}, **more)

    def post(self, name: str, path: str, headers: Mapping[str, str], **more: Any) -> httpx.Response:
        return self.ask(name, path, headers=headers, method="POST", **more)

    def first_lines(self, path: str) -> list[str]:
        """Of a stream that goes on."""
        with self._client.stream("GET", self._url + path, headers={"Host": PAGE}) as answer:
            lines = answer.iter_lines()
            return [next(lines) for _ in range(2)]


@pytest.fixture(scope="module")
def nginx() -> str:
    """Debian's."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        pytest.skip("nginx is not here: apt install nginx-light")
    return found


def _recipe(language: str, starts: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", RECIPES.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(starts)]
    return str(found)


@pytest.fixture
def site(cold: Shell, nginx: str, certificates: Path, tmp_path: Path) -> Iterator[Site]:
    page, flower, port = free_ports(3)
    cold.variables |= {"XDG_STATE_HOME": str(cold.home.parent / "state"), "FLOWER_BASIC_AUTH": ""}
    up = ("up", "--no-web", "--concurrency", "1", "--pool", "threads", "--flower-port", str(flower))
    running = cold.start("--app", "shop", *up)
    running.prints("ready: Flower answers")
    web = cold.start("--app", "shop", "web", "--name", PAGE, "--port", str(page))
    web.says("the page: ")
    _write(tmp_path, cold, certificates, {"443": f"127.0.0.1:{port}", ":8000": f":{page}", ":5555": f":{flower}"})
    front = cold.start_command([nginx, "-e", "stderr", "-c", str(tmp_path / "nginx.conf")])
    found = Site(cold, port, certificates / "ca.pem")
    until(lambda: _answers(found), f"nginx, the page and Flower: {front.err}")
    yield found
    for one in (front, web, running):
        one.process.terminate()
        one.process.wait(30)


def _write(folder: Path, shell: Shell, certificates: Path, places: dict[str, str]) -> None:
    """The recipe's files, with this machine's places in it."""
    text = _recipe("nginx", "# /etc/nginx")
    places |= {"/etc/ssl/collectors": str(certificates), "/etc/nginx": str(folder)}
    for theirs, ours in places.items():
        text = text.replace(theirs, ours)
    (folder / "site.conf").write_text(text)
    temporary = "".join(f"{name}_temp_path {folder}/{name}; " for name in TEMPORARY)
    (folder / "nginx.conf").write_text(AROUND.format(folder, temporary, getpass.getuser()))
    hashed = subprocess.run(["openssl", "passwd", "-apr1", "secret"], capture_output=True, text=True, check=True)
    (folder / "collectors.passwd").write_text(f"ann:{hashed.stdout}")
    command = _recipe("console", "$ printf 'proxy_set_header").removeprefix("$ ")
    command = command.replace("/etc/nginx", str(folder)).replace("~/.local/state", shell.variables["XDG_STATE_HOME"])
    subprocess.run(["/bin/bash", "-c", command], check=True)


def _answers(site: Site) -> bool:
    try:
        return all(site.ask(name, path).is_success for name, path in ((PAGE, "/"), (FLOWER, "/workers")))
    except httpx.TransportError:
        return False


def test_the_recipe_lets_in_whom_it_should_and_passes_on_what_happens(site: Site, tmp_path: Path) -> None:
    for name in (PAGE, FLOWER):
        assert site.ask(name, "/", auth=("ann", "wrong")).status_code == 401
    own = {"Origin": f"https://{PAGE}", "Sec-Fetch-Site": "same-origin"}
    asked = site.post(PAGE, "/v1/requests", own, json={"topic": f"slow:{tmp_path}/gate"})
    assert asked.status_code == 202, asked.text
    request_id = asked.json()["request_id"]
    assert site.first_lines(f"/v1/requests/{request_id}/events")
    assert site.shell.show(request_id)["state"] == "collecting", "its events came while it ran"
    (tmp_path / "gate").touch()
    assert site.post(FLOWER, "/api/task/revoke/x", {"Sec-Fetch-Site": "same-origin"}).status_code == 200
    other = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert site.post(PAGE, "/v1/requests", other, json={"topic": "fast:food"}).status_code == 403
    assert site.post(FLOWER, "/api/task/revoke/x", other).status_code == 403
    assert site.ask("elsewhere.example", "/").status_code == 421
    assert site.ask(PAGE, "/collectors/").headers["Location"].startswith(f"https://{PAGE}")
