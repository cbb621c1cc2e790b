"""Keeps a canvas within the limits of the server: tasks at a time, bytes in one answer, bytes of history."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from temporalio import workflow

from ...message.message import total_size
from ...payload import Payload

AT_A_TIME = 2 * 1024 * 1024
"""Bytes of commands in one answer to the server, roughly. The server takes 4 MiB."""
HISTORY_ROOM = 45 * 1024 * 1024
"""Bytes of history that a canvas's workflow may fill. The server ends a workflow at 50 MiB."""


class FairSemaphore:
    """A semaphore that can be taken several times at once. Waiters are served in the order in which they came."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, count: int = 1) -> AsyncIterator[None]:
        await self._take(count)
        try:
            yield
        finally:
            self._free += count
            self._let_in()

    async def _take(self, count: int) -> None:
        if not self._waiting and count <= self._free:
            self._free -= count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (count, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free += count  # its turn had come meanwhile
            else:
                self._waiting.remove(entry)
            self._let_in()
            raise

    def _let_in(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            count, turn = self._waiting.popleft()
            self._free -= count
            turn.set_result(None)


class CommandBudget:
    """Keeps the commands of one answer below the size that the server takes."""

    # An answer holds all commands since the last event of the history, so its length tells one answer from the next.

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._answer = -1
        self._bytes = 0

    async def room_for(self, size: int) -> None:
        """Return when a command of `size` bytes fits into the current answer."""
        async with self._lock:
            if (answer := workflow.info().get_current_history_length()) != self._answer:
                self._answer, self._bytes = answer, 0
            if self._bytes and self._bytes + size > AT_A_TIME:
                await asyncio.sleep(0.001)  # a timer ends the answer: the earlier commands leave now
                self._answer, self._bytes = workflow.info().get_current_history_length(), 0
            self._bytes += size


def history_is_full(size: int) -> bool:
    """Return whether `size` more bytes would overfill the history."""
    return workflow.info().get_current_history_size() + size > HISTORY_ROOM


@dataclass(frozen=True)
class OmittedResults:
    """Stands for results that were too large to be carried between workflows."""

    count: int
    size: int
    """Total size in bytes."""


def measured(value: Any) -> tuple[int, int, bool]:
    """Return how many results a value holds, their total size in bytes, and whether some of them were omitted."""
    count = size = 0
    omitted = False
    for part in _parts(value):
        if isinstance(part, OmittedResults):
            count, size, omitted = count + part.count, size + part.size, True
        elif isinstance(part, Payload):
            count, size = count + 1, size + total_size([part])
    return count, size, omitted


def _parts(value: Any) -> Iterable[Any]:
    if not isinstance(value, list):
        return [value]
    return (part for each in value for part in _parts(each))
