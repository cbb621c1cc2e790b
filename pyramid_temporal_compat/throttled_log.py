"""A line of the log that comes once a minute at most, however often there is a reason for it."""

from __future__ import annotations

import logging
import threading
import time

EVERY = 60.0


class Seldom:
    """For every thread. What happens between two lines is counted in the next one."""

    def __init__(self, log: logging.Logger, level: int) -> None:
        self._log = log
        self._level = level
        self._lock = threading.Lock()
        self._next = 0.0
        self._count = 0

    def say(self, text: str, *values: object, count: int = 1) -> None:
        """`text` takes the count since the last line, and then the values."""
        with self._lock:
            self._count += count
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + EVERY
            count, self._count = self._count, 0
        self._log.log(self._level, text, count, *values)
