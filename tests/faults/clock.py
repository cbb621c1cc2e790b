"""A wall clock that is wrong. `time.monotonic` is not changed, as on a real machine."""

from __future__ import annotations

import datetime
import time
from typing import Any

_datetime, _time = datetime.datetime, time.time
_ahead = 0.0


def shift(seconds: float) -> None:
    """Move this process's clock ahead of the machine's by so many more seconds."""
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
    """The class that replaces `datetime.datetime`. Its instances are ordinary datetimes."""

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
