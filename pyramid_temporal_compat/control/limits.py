"""Limits of a task: how often this worker starts it, and how long one run may take.

As in Celery, each worker counts its own starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

UNITS = {"s": 1, "m": 60, "h": 3600}
TURN_LASTS = 5.0
"""Seconds for which a task keeps its turn after it was given back to the server. Later, another worker has taken it."""
LONGEST_WAIT = 60.0
"""Seconds after which the server offers a task again, even if its turn is later: the limit may have been raised."""
LONGEST_INTERVAL = 366 * 86400.0
"""Seconds between two starts at most."""
OFFERS = 10
"""How many waiting tasks the server offers again in one second, at most."""


def interval_of(rate: Any) -> float:
    """Return the seconds between two starts, for a limit in Celery's notation: `"10/s"`, `"5/m"`, a number a second.

    Return 0 if there is no limit.
    """
    if rate is None or rate == "":
        return 0.0
    number, _, unit = str(rate).strip().partition("/")
    try:
        starts, seconds = float(number), UNITS[unit.strip() or "s"]
        if not 0 <= starts < float("inf") or seconds > starts * LONGEST_INTERVAL > 0:
            raise ValueError
    except (KeyError, ValueError):
        raise ValueError(
            f"{rate!r} is not a rate limit; give a number a second, or a text like '10/s', '5/m', '100/h'"
        ) from None
    return seconds / starts if starts else 0.0


class Rate:
    """The rate limit of one task name: one start each `interval` seconds, in the order in which the tasks came."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._next = 0.0
        """When the next start is due."""
        self._turns: dict[str, float] = {}
        """When each waiting task may start, by task id; the nearest first."""

    def wait(self, task_id: str, now: float) -> float:
        """Return the seconds that this task must wait before it asks again; 0 if it may start now."""
        self._forget(now)
        turn = self._turns.get(task_id)
        if turn is None and (self._turns or now < self._next):
            last = next(reversed(self._turns.values())) if self._turns else self._next - self.interval
            turn = self._turns[task_id] = max(self._next, last + self.interval)
        left = max(turn or 0.0, self._next) - now
        if left > 0:
            return min(left, max(LONGEST_WAIT, len(self._turns) / OFFERS))
        self._turns.pop(task_id, None)
        late = now - self._next
        self._next = (self._next if late < self.interval else now) + self.interval
        return 0.0

    def _forget(self, now: float) -> None:
        """Drop the turns of tasks that did not come back in time."""
        while self._turns:
            task_id, turn = next(iter(self._turns.items()))
            if turn + max(TURN_LASTS, self.interval) > now:
                return
            del self._turns[task_id]


@dataclass(frozen=True)
class Limits:
    """Seconds that a job may run, counted from the moment that its handler begins."""

    soft: float | None = None
    """`SoftTimeLimitExceeded` is raised inside the handler's interruptible part."""
    hard: float | None = None
    """The job is stopped, and `run` raises `TimeLimitExceeded`."""
