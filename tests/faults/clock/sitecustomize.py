"""Lets a whole Python process believe that it is another time; read by each that has this folder in its path."""

import datetime
import os
import time

_SHIFT_S = int(os.environ.get("CLOCK_SHIFT_S", "0"))
_time, _time_ns, _datetime = time.time, time.time_ns, datetime.datetime


class _Meta(type(_datetime)):  # what C code makes of the old class is still a datetime
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime)


class _Shifted(_datetime, metaclass=_Meta):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return _datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> datetime.datetime:
        return _datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


if _SHIFT_S:
    time.time = lambda: _time() + _SHIFT_S
    time.time_ns = lambda: _time_ns() + _SHIFT_S * 10**9
    datetime.datetime = _Shifted
