"""Whether a worker is alive, and whether it is ready.

The worker's event loop writes down what it sees about twice a second. The thread that answers probes reads only that,
so a probe is answered while the loop is stuck; and that the loop is stuck shows by the age of what it wrote.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from .memory import used_kib

LOOK_EVERY = 0.5
LOOP_STUCK = 20.0
"""Seconds without a turn of the event loop until the worker counts as dead. A busy machine delays a turn by seconds."""
POOL_STUCK = 30.0
"""Seconds without a living child process until the worker counts as dead. A new child process takes a moment."""


class Health(NamedTuple):
    """The answer to one question, with a line for each part of it."""

    is_well: bool
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """What the event loop has seen."""

    server_answers: bool = False
    is_polling: bool = False
    stops: bool = False
    """The worker was told to stop: it takes no more tasks, and ends with the last one that runs."""
    children: tuple[int, ...] | None = None
    """The process ids of the pool's children; None for a pool without children."""
    running: int = 0


@dataclass
class WorkerHealth:
    """What probes ask of one worker."""

    look: Callable[[], Seen]
    """Called on the event loop."""
    memory_limit_kib: int | None = None
    clock: Callable[[], float] = time.monotonic
    own_pid: int = 0
    _seen: Seen = Seen()
    _turned: float = field(init=False)
    _had_children: float = field(init=False)

    def __post_init__(self) -> None:
        self._turned = self._had_children = self.clock()

    async def forever(self) -> None:
        """Look all the time."""
        while True:
            self.note()
            await asyncio.sleep(LOOK_EVERY)

    def note(self) -> None:
        """Look once."""
        self._seen, self._turned = self.look(), self.clock()
        if self._seen.children != ():
            self._had_children = self._turned

    def live(self) -> Health:
        """Return whether the worker works at all. If not, only a restart helps."""
        now = self.clock()
        parts = [
            self._part("event loop", now - self._turned, LOOP_STUCK, "turns", "has not turned"),
            self._part("pool", now - self._had_children, POOL_STUCK, "answers", "has had no process"),
            self._memory(),
        ]
        return Health(all(is_well for is_well, _ in parts), tuple(line for _, line in parts))

    def ready(self) -> Health:
        """Return whether the worker takes tasks now."""
        alive, seen = self.live(), self._seen
        parts = [
            (not seen.stops, "takes tasks" if not seen.stops else f"stopping; {seen.running} tasks still run"),
            (seen.server_answers, f"server {'answers' if seen.server_answers else 'does not answer'}"),
            (seen.is_polling, f"queues {'are polled' if seen.is_polling else 'are not polled yet'}"),
        ]
        lines = (*alive.lines, *(line for _, line in parts))
        return Health(alive.is_well and all(is_well for is_well, _ in parts), lines)

    @staticmethod
    def _part(name: str, silent: float, limit: float, well: str, ill: str) -> tuple[bool, str]:
        if silent <= limit:
            return True, f"{name} {well}"
        return False, f"{name} {ill} for {silent:.0f} s (limit {limit:.0f} s)"

    def _memory(self) -> tuple[bool, str]:
        limit = self.memory_limit_kib
        if limit is None:
            return True, "memory has no limit (ptemporal.memory_limit)"
        used = used_kib((self.own_pid, *(self._seen.children or ())))
        if used is None:
            return True, "memory is not known on this system"
        return used <= limit, f"memory {used} KiB of {limit} KiB"
