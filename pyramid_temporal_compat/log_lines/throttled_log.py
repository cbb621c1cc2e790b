"""Log lines that are written less often than their reason occurs: once a minute, or once for each name."""

from __future__ import annotations

import logging
import threading
import time

EVERY = 60.0
"""Seconds between two lines of a `ThrottledLog`."""
MOST_NAMES = 1000
"""Names that are remembered: a sender that makes up names must not fill the worker's memory."""


class ThrottledLog:
    """Writes one kind of line. Counts what happens between two lines. Any thread may use it."""

    def __init__(self, log: logging.Logger, level: int) -> None:
        self._log = log
        self._level = level
        self._lock = threading.Lock()
        self._next = 0.0
        self._count = 0

    def say(self, text: str, *values: object, count: int = 1) -> None:
        """Log the line, or only count. `text` gets the count since the last line, then the values."""
        with self._lock:
            self._count += count
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + EVERY
            count, self._count = self._count, 0
        self._log.log(self._level, text, count, *values)


class LoggedNames:
    """The names for which a line was logged, so that the log has one line for each name."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def is_new(self, name: str) -> bool:
        """Remember the name. Return whether it was not remembered before."""
        if name in self._names:
            return False
        if len(self._names) >= MOST_NAMES:
            self._names.clear()
        self._names.add(name)
        return True
