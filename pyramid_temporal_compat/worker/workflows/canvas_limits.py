"""What keeps a canvas within what the server takes: tasks at a time, bytes in one answer, bytes of history."""

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
"""Bytes of commands in one answer to the server, about; it takes 4 MiB."""
HISTORY_ROOM = 45 * 1024 * 1024
"""Bytes of history that a canvas's workflow fills; the server ends one at 50 MiB."""


class FairSemaphore:
    """So many tasks at a time. Who comes first goes first, also who wants several places."""

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
                self._free += count  # its turn had come
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
    """Keeps what is asked of the server at one time below what it takes in one message."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._answer = -1
        self._bytes = 0

    async def room_for(self, size: int) -> None:
        async with self._lock:
            if (answer := workflow.info().get_current_history_length()) != self._answer:
                self._answer, self._bytes = answer, 0
            if self._bytes and self._bytes + size > AT_A_TIME:
                await asyncio.sleep(0.001)  # a timer: what was asked leaves before it
                self._answer, self._bytes = workflow.info().get_current_history_length(), 0
            self._bytes += size


def history_is_full(size: int) -> bool:
    """Whether there is no place for so many bytes more."""
    return workflow.info().get_current_history_size() + size > HISTORY_ROOM


@dataclass(frozen=True)
class OmittedResults:
    """Results that were too large to be carried to whoever wants them."""

    count: int
    size: int
    """Their bytes together."""


def measured(value: Any) -> tuple[int, int, bool]:
    """How many results there are in a value, their bytes together, and whether some of them are not there."""
    count = size = 0
    gone = False
    for part in _parts(value):
        if isinstance(part, OmittedResults):
            count, size, gone = count + part.count, size + part.size, True
        elif isinstance(part, Payload):
            count, size = count + 1, size + total_size([part])
    return count, size, gone


def _parts(value: Any) -> Iterable[Any]:
    if not isinstance(value, list):
        return [value]
    return (part for each in value for part in _parts(each))
