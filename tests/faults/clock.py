"""A wall clock that is wrong. The clock that only measures, `time.monotonic`, goes on, as on a real machine."""

from __future__ import annotations

import datetime
import time
from typing import Any

_datetime, _time = datetime.datetime, time.time
_ahead = 0.0


def shift(seconds: float) -> None:
    """From now on this process' clock is ahead of the machine's by so much more."""
    global _ahead
    _ahead += seconds
    time.time = lambda: _time() + _ahead
    datetime.datetime = Shifted  # type: ignore[misc]


class _LooksReal(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _datetime)

    def __subclasscheck__(cls, other: Any) -> bool:
        return issubclass(other, _datetime)


class Shifted(_datetime, metaclass=_LooksReal):
    """What `datetime.datetime` is then; what it makes are datetimes like any other."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return _datetime(*args, **kwargs)

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return _datetime.now(tz) + datetime.timedelta(seconds=_ahead)

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(datetime.timezone.utc).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Any:
        return cls.now()
