"""Autoscaling: makes the pool larger while tasks wait, and smaller when a part of it has been idle for a while."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable

from .pool import checked_size

log = logging.getLogger(__name__)

KEEPALIVE = float(os.environ.get("AUTOSCALE_KEEPALIVE", 30))
"""Seconds for which a pool keeps a size that it does not need. The variable is Celery's."""
LOOK_EVERY = 1.0


class Autoscaler:
    """Decides how large the pool is. Belongs to the worker's event loop.

    The worker takes one task more from the server than the pool can run. While that task waits, there is more to do,
    and the pool should grow.
    """

    def __init__(
        self,
        smallest: int,
        largest: int,
        resize: Callable[[int, int], None],
        taken: Callable[[], int],
        keepalive: float = KEEPALIVE,
    ) -> None:
        """
        :param resize: called with the pool's new size, and the number of tasks that the worker may take.
        :param taken: returns the number of tasks that the worker has taken and that have not ended.
        """
        self.size = self.smallest = smallest
        self.largest = largest
        self.keepalive = keepalive
        self._resize = resize
        self._taken = taken
        self._needed_at = time.monotonic()

    @property
    def may_be_taken(self) -> int:
        """Number of tasks that the worker may have at a time."""
        return min(self.size + 1, self.largest)

    def task_taken(self) -> None:
        """Make the pool larger, if the task that was just taken would have to wait."""
        if self._taken() >= self.size:
            self._needed_at = time.monotonic()
        if self._taken() > self.size < self.largest:
            self._scale(min(self._taken(), self.largest))

    async def forever(self) -> None:
        """Make the pool smaller whenever it has been too large for `keepalive` seconds."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            needed = max(self._taken(), self.smallest)
            if needed >= self.size:
                self._needed_at = time.monotonic()
            elif time.monotonic() - self._needed_at >= self.keepalive:
                self._scale(needed)

    def update(self, largest: int | None = None, smallest: int | None = None) -> tuple[int, int]:
        """Change the bounds while the worker runs. Return the new bounds, the larger first."""
        self.largest = self.largest if largest is None else max(1, largest)
        self.smallest = min(self.smallest if smallest is None else max(1, smallest), self.largest)
        self._scale(min(max(self.size, self.smallest), self.largest))
        return self.largest, self.smallest

    def resize(self, size: int) -> None:
        """Set the pool's size now, and widen the bounds if they do not allow it."""
        checked_size(size)  # before anything changes
        self.largest, self.smallest = max(self.largest, size), min(self.smallest, size)
        self._scale(size)

    def _scale(self, size: int) -> None:
        if size != self.size:
            log.info("Scaling %s %d processes.", "up" if size > self.size else "down", abs(size - self.size))
        self.size = size
        self._needed_at = time.monotonic()
        self._resize(size, self.may_be_taken)
