"""Decides how many tasks a worker takes from the server. All queues of the worker share one capacity."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from dataclasses import dataclass

from temporalio.worker import (
    CustomSlotSupplier,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
)


@dataclass(eq=False)
class QueuePermit(SlotPermit):
    """The right to take one task from a queue, and then to run it."""

    queue: str
    used: bool = False


class SharedSlots(CustomSlotSupplier):
    """Hands out the permits for all queues of one worker.

    A poll holds its permit while it waits. With strict sharing, a poll of an empty queue could keep the only permit
    from a queue with work. So each queue may poll while a task could run. At worst, one task of each further queue is
    taken too early, and waits in the pool.

    Permits are asked for on the event loop and given back on any thread.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._used = 0
        self._polling: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = deque()

    def resize(self, size: int) -> None:
        self.size = size
        self._wake()

    def take(self, queue: str) -> QueuePermit | None:
        """Return a permit, or None if the queue must wait."""
        with self._lock:
            free = self.size - self._used
            if free <= 0 or (self._polling[queue] and self._polling.total() >= free):
                return None
            self._polling[queue] += 1
            return QueuePermit(queue)

    async def wait(self, queue: str) -> QueuePermit:
        """Return a permit once there is one."""
        while (permit := self.take(queue)) is None:
            event = asyncio.Event()
            self._waiting.append((asyncio.get_running_loop(), event))
            # Look again: a permit that came free since the first look has not woken this waiter.
            if (permit := self.take(queue)) is not None:
                return permit
            await event.wait()
        return permit

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        return await self.wait(ctx.task_queue)

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        return self.take(ctx.task_queue)

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        permit = ctx.permit
        assert isinstance(permit, QueuePermit)
        with self._lock:
            permit.used = True
            self._polling[permit.queue] -= 1
            self._used += 1

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        permit = ctx.permit
        assert isinstance(permit, QueuePermit)
        with self._lock:
            if permit.used:
                self._used -= 1
            else:
                self._polling[permit.queue] -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            loop, event = self._waiting.popleft()
            loop.call_soon_threadsafe(event.set)
