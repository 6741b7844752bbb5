"""What may stand in a chord: tasks and chains of tasks as members, a task as callback, tasks as links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from celery.canvas import Signature, group, maybe_signature
from celery.utils.functional import maybe_list

_LATER = ("countdown", "eta", "expires")


class Member(msgspec.Struct, frozen=True):
    """One member: the tasks of which it consists, one after another."""

    steps: tuple[Any, ...]

    def with_more(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Member:
        """The same member with more arguments before its own, and options that it has not itself."""
        first, *rest = self.steps
        first = first.clone(tuple(args), dict(kwargs)) if args or kwargs else first.clone()
        for name, value in options.items():
            first.options.setdefault(name, value)
        return Member((first, *rest))


class Callback(msgspec.Struct, frozen=True):
    """The callback's signature, and what is called after the chord's end."""

    signature: Any
    links: tuple[Any, ...] = ()
    error_links: tuple[Any, ...] = ()

    @property
    def app(self) -> Any:
        """The app of its task."""
        return self.signature.app


def members_of(header: Any) -> tuple[Member, ...]:
    """A header's members; a group that stands among them is taken for its members, as Celery takes it.

    Raises:
        TypeError: for what can't be one.
    """
    options: Mapping[str, Any] = {}
    if isinstance(header, group):
        signatures: Iterable[Any] = header.tasks
        options = header.options
    elif isinstance(header, Signature):
        signatures = [header]
    elif isinstance(header, Iterable) and not isinstance(header, (str, bytes)):
        signatures = header
    else:
        raise TypeError(f"a chord's header is a group or signatures, not {_what(header)}")
    found = (member for one in signatures for member in _members(maybe_signature(one)))
    return tuple(member.with_more((), {}, options) for member in found)


def _members(signature: Any) -> tuple[Member, ...]:
    return members_of(signature) if isinstance(signature, group) else (_member(signature),)


def _member(signature: Any) -> Member:
    if not isinstance(signature, Signature) or _kind(signature) != "chain":
        return Member((_task(signature, "a chord's member"),))
    steps = tuple(_task(maybe_signature(one), "a step of a chord's member").clone() for one in signature.tasks)
    if not steps:
        raise TypeError("a chord's member can't be a chain of nothing")
    options = dict(signature.options)  # what is said of a chain holds for its first task, but for its links
    for link in maybe_list(options.pop("link", None)) or ():
        steps[-1].link(link)
    for link in maybe_list(options.pop("link_error", None)) or ():
        for step in steps:
            step.link_error(link)
    return Member(steps).with_more((), {}, options)


def callback_of(body: Any, *, link: Any = None, link_error: Any = None) -> Callback:
    """The callback, and its links taken from it: the ledger calls them.

    Raises:
        TypeError: for what can't be one.
    """
    if body is None:
        raise TypeError("a chord needs a callback: chord(header)(callback.s()), or chord(header, callback.s())")
    signature = _task(maybe_signature(body), "a chord's callback").clone()
    for name in _LATER:
        if signature.options.pop(name, None) is not None:
            raise TypeError(f"a chord's callback can't have {name}=: it is called when its members are done")
    return Callback(
        signature,
        tuple(_links(signature.options.pop("link", None)) + _links(link)),
        tuple(_links(signature.options.pop("link_error", None)) + _links(link_error)),
    )


def _links(link: Any) -> list[Any]:
    several = link if isinstance(link, (list, tuple)) else [] if link is None else [link]
    return [_task(maybe_signature(one), "a chord's link") for one in several]


def _task(signature: Any, what: str) -> Any:
    if not isinstance(signature, Signature):
        if callable(getattr(signature, "s", None)) and hasattr(signature, "delay"):
            raise TypeError(f"{what} is a signature: write {getattr(signature, '__name__', 'task')}.s(…), with .s")
        if hasattr(signature, "apply_async"):
            raise TypeError(f"{what} can't be a {_what(signature)}; open that in a task of its own")
        raise TypeError(f"{what} is a signature such as task.s(…), not {_what(signature)}")
    kind = _kind(signature)
    if kind == "chain":
        raise TypeError(f"{what} can't be a chain; let its task do the steps, or open it where they are done")
    if kind in ("group", "chord", "chunks"):
        raise TypeError(f"{what} can't be a {kind}; open that in a task of its own")
    return signature


def _kind(signature: Signature) -> str | None:
    return "chunks" if signature.task == "celery.chunks" else signature.get("subtask_type")


def _what(thing: Any) -> str:
    return type(thing).__qualname__
