"""Links to Flower: a request's tasks, and the task of a run."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import msgspec

from celery_collectors.dispatch import task_id
from celery_collectors.errors import SettingsError
from celery_collectors.ledger.asked import Asked, Question

PACKS = "pack"
"""How the refs of messages begin that several runs share."""


class Flower(msgspec.Struct, frozen=True):
    """Where Flower is, as a browser reaches it."""

    url: str

    @classmethod
    def at(cls, url: str) -> Flower:
        """Flower at an address.

        Raises:
            SettingsError: for what is no address of a web page.

        >>> Flower.at("https://example.org/flower/").request("1")
        'https://example.org/flower/tasks?name=1%20OR%201'
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise SettingsError(f"Flower's address is like http://127.0.0.1:5555, not {url!r}")
        if parts.username is not None:
            raise SettingsError(
                "Flower's address goes to every browser, so it has no password in it; Flower asks for it"
            )
        return cls(url.rstrip("/"))

    def request(self, request_id: str) -> str:
        """Its list of a request's tasks."""
        return self._list(request_id)

    def run(self, request_id: str, asked: Asked) -> str:
        """Its page of the task that a run or stage was last; else the list of those that may have been it.

        A message's id begins with the request's, and names the run; a pack's does not say which runs were in it.
        """
        if asked.message is not None:
            return f"{self.url}/task/{quote(task_id(asked.message), safe='')}"
        return self._list(f"{request_id}-{asked.ref}-", f"{request_id}-{PACKS}")

    def _list(self, *words: str) -> str:
        """A list of the tasks in whose texts one of these words is, their ids included.

        Flower's page reads of its address only `name`, `state` and `worker`, and puts that word and a colon before it.
        """
        return f"{self.url}/tasks?name={quote(' OR '.join((words[0], *words)), safe='')}"


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """Where Flower shows a request's tasks, each run's by its name, and each stage's, as far as they were reached."""

    request: str
    runs: dict[str, str]
    stages: dict[str, str]


def links(flower: Flower, request_id: str, question: Question) -> Links:
    """Links to Flower for all rows of a request."""
    found = {one.ref: (one.name, flower.run(request_id, one)) for one in question.rows}
    return Links(
        request=flower.request(request_id),
        runs=dict(found[ref] for ref in found if ref.isdigit()),
        stages={ref: found[ref][1] for ref in found if not ref.isdigit()},
    )
