"""Decides how many tasks a worker takes from the server. All queues of the worker share one capacity."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Container
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
    native: bool = False
    """Whether it runs a hand-written activity, which needs no place in the pool."""


class SharedSlots(CustomSlotSupplier):
    """Hands out the permits for all queues of one worker.

    A poll holds its permit while it waits. With strict sharing, a poll of an empty queue could keep the only permit
    from a queue with work. So each queue may poll while a task could run. At worst, one task of each further queue is
    taken too early, and waits in the pool.

    A poll may bring a task or a hand-written activity. Hand-written activities do not run in the pool, so they have a
    limit of their own. A worker that has reached one of both limits takes neither.

    Permits are asked for on the event loop and given back on any thread.
    """

    def __init__(self, size: int, native_size: int = 100, native_names: Container[str] = ()) -> None:
        """
        :param size: how many tasks may run at a time.
        :param native_size: how many hand-written activities may run at a time.
        :param native_names: the names of the hand-written activities.
        """
        self.size = size
        self._native_size = native_size
        self._native_names = native_names
        self._used = 0
        self._native_used = 0
        self._polling: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = deque()

    def resize(self, size: int) -> None:
        self.size = size
        self._wake()

    def take(self, queue: str) -> QueuePermit | None:
        """Return a permit, or None if the queue must wait."""
        with self._lock:
            free = min(self.size - self._used, self._native_size - self._native_used)
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
            permit.native = getattr(ctx.slot_info, "activity_type", None) in self._native_names
            self._polling[permit.queue] -= 1
            self._count(permit, 1)

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        permit = ctx.permit
        assert isinstance(permit, QueuePermit)
        with self._lock:
            if permit.used:
                self._count(permit, -1)
            else:
                self._polling[permit.queue] -= 1
        self._wake()

    def _count(self, permit: QueuePermit, change: int) -> None:
        if permit.native:
            self._native_used += change
        else:
            self._used += change

    def _wake(self) -> None:
        while self._waiting:
            loop, event = self._waiting.popleft()
            loop.call_soon_threadsafe(event.set)
