"""What MessagePack does not know by itself: decimals, times, UUIDs and large integers come back as they were."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

UNCHANGING = frozenset({NoneType, bool, int, float, str, bytes})
"""What is stored as it is, and stays what it is whoever else holds it."""
_CONTAINERS = frozenset({dict, list})
FEW = 16  # keys; up to so many are looked at quicker one by one
_BASES: Mapping[type, Callable[[Any], Any]] = {
    str: str.__str__, int: int.__int__, float: float.__float__, bytes: bytes.__bytes__,
    bytearray: bytes, memoryview: bytes, Mapping: dict, list: list, tuple: list,
}  # fmt: skip


class _Extension(NamedTuple):
    """A type that travels as text under a number of its own."""

    kind: type
    to_text: Callable[[Any], str]
    from_text: Callable[[str], Any]


def _timedelta(text: str) -> timedelta:
    days, seconds, microseconds = map(int, text.split())
    return timedelta(days, seconds, microseconds)


_EXTENSIONS: Mapping[int, _Extension] = {
    1: _Extension(Decimal, str, Decimal),
    2: _Extension(datetime, datetime.isoformat, datetime.fromisoformat),
    3: _Extension(date, date.isoformat, date.fromisoformat),
    4: _Extension(time, time.isoformat, time.fromisoformat),
    5: _Extension(timedelta, lambda gap: f"{gap.days} {gap.seconds} {gap.microseconds}", _timedelta),
    6: _Extension(UUID, str, UUID),
    7: _Extension(int, lambda number: format(number, "x"), lambda text: int(text, 16)),  # beyond 64 bits
}
_CODES = {extension.kind: code for code, extension in _EXTENSIONS.items()}
_KEPT = (bytes, bytearray, memoryview, *(kind for kind in _CODES if kind is not int))


def is_plain(value: Any) -> bool:
    """Whether MessagePack can hold a value as it is; most can, and to look is several times quicker than to copy.

    >>> is_plain([{"a": [1]}]), is_plain([{"a": [Decimal(1)]}])
    (True, False)
    """
    kind = type(value)
    if kind is not dict:
        return kind in UNCHANGING or (kind is list and (_all_unchanging(value) or all(map(is_plain, value))))
    if len(value) > FEW and _all_unchanging(value) and _all_unchanging(value.values()):
        return True
    for key, inner in value.items():  # which takes no call for most of them
        kind = type(inner)
        if type(key) not in UNCHANGING or not (kind in UNCHANGING or (kind in _CONTAINERS and is_plain(inner))):
            return False
    return True


def _all_unchanging(values: Collection[Any]) -> bool:
    return UNCHANGING.issuperset(map(type, values))


def plain(value: Any, *, wide: bool = False) -> Any:
    """The same value in what MessagePack can hold.

    Args:
        value: Anything that JSON can hold, bytes, times, decimals, UUIDs; also dataclasses, msgspec structs, pydantic
            models and enums, which become what they consist of.
        wide: Whether integers may need more than 64 bits; to look at each of them takes time.

    Raises:
        TypeError: for anything else.

    >>> plain({"a": (1, None)})
    {'a': [1, None]}
    """
    kind = type(value)
    if kind in UNCHANGING:
        return _as_extension(value) if wide and kind is int and value.bit_length() > 63 else value
    if kind is dict:
        return {_key(key): plain(inner, wide=wide) for key, inner in value.items()}
    if kind is list or kind is tuple:
        return [plain(inner, wide=wide) for inner in value]
    if kind in _CODES:
        return _as_extension(value)
    apart = _taken_apart(value)
    return apart if isinstance(apart, msgspec.msgpack.Ext) else plain(apart, wide=wide)


def _key(key: Any) -> Any:
    found = plain(key)
    if isinstance(found, msgspec.msgpack.Ext):  # which is nothing that a dict could be looked up by
        return bytes(found.data).decode()
    if isinstance(found, list | dict):
        raise TypeError(f"a key of type {type(key).__qualname__} can't be stored")
    return found


def _as_extension(value: Any, code: int = 0) -> msgspec.msgpack.Ext:
    code = code or _CODES[type(value)]
    return msgspec.msgpack.Ext(code, _EXTENSIONS[code].to_text(value).encode())


def _taken_apart(value: Any) -> Any:
    """What an object consists of: of a subclass's instance the value itself, else dicts, lists and the types above."""
    for kind, itself in _BASES.items():
        if isinstance(value, kind):
            return itself(value)
    for code, extension in _EXTENSIONS.items():
        if isinstance(value, extension.kind):
            return _as_extension(value, code)
    return msgspec.to_builtins(value, builtin_types=_KEPT, enc_hook=_model)


def _model(value: Any) -> Any:
    """A pydantic model, known by what it can do, so that pydantic need not be there."""
    if hasattr(type(value), "model_dump"):
        return value.model_dump()
    raise TypeError(f"{type(value).__qualname__} is none of the types that can be stored")


def extended(code: int, data: memoryview) -> Any:
    """What :func:`plain` wrote under a number of its own.

    Raises:
        ValueError: for a number or a text that it never writes.
    """
    if code not in _EXTENSIONS:
        raise ValueError(f"a value of the unknown kind {code}")
    return _EXTENSIONS[code].from_text(bytes(data).decode())
