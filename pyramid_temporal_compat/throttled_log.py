"""A log line that is written at most once a minute, however often its reason occurs."""

from __future__ import annotations

import logging
import threading
import time

EVERY = 60.0


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
