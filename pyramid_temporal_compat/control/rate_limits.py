"""Rate limits: how many tasks of one name this worker starts in a while, as Celery's workers do it."""

from __future__ import annotations

from typing import Any

UNITS = {"s": 1, "m": 60, "h": 3600}
KEPT = 5.0
"""Seconds that a turn is kept for a task that was given back; then another worker has taken it."""
LONGEST_WAIT = 60.0
"""Seconds after which a task is offered again, though its turn is later: the limit may have been raised."""
OFFERS = 10
"""Waiting tasks that are offered again in one second, at most."""


def interval_of(rate: Any) -> float:
    """Seconds between two starts for a limit written as Celery writes it: `"10/s"`, `"5/m"`, a number a second.

    0 where there is no limit.
    """
    if rate is None or rate == "":
        return 0.0
    number, _, unit = str(rate).strip().partition("/")
    try:
        starts, seconds = float(number), UNITS[unit.strip() or "s"]
        if not 0 <= starts < float("inf"):
            raise ValueError
    except (KeyError, ValueError):
        raise ValueError(
            f"{rate!r} is no rate limit; it takes a number a second, or one like '10/s', '5/m', '100/h'"
        ) from None
    return seconds / starts if starts else 0.0


class Rate:
    """One task's limit: a start each `interval` seconds, in the order in which the tasks came."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._next = 0.0
        """When the next start is due."""
        self._turns: dict[str, float] = {}
        """When the tasks that were told to wait may start; the nearest first."""

    def wait(self, task_id: str, now: float) -> float:
        """Seconds that this task is to wait before it asks again; 0: it starts now."""
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
        while self._turns:
            task_id, turn = next(iter(self._turns.items()))
            if turn + max(KEPT, self.interval) > now:
                return
            del self._turns[task_id]
