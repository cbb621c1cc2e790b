"""Which Pyramid request is current, on a thread where several asyncio tasks take turns.

Pyramid keeps the current requests of a thread in a list. An `async def` activity can't put its request there: while it
awaits, other activities run on the same thread, and would find its request. So the thread of the event loop gets a list
of another kind, in which each asyncio task sees its own requests. `get_current_request()` then works in an async
activity as it does in a view, and so does `task.delay()`, which looks for the current request's transaction.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from contextvars import ContextVar
from typing import Any

from pyramid.threadlocal import manager

_pushed: ContextVar[tuple[Any, ...]] = ContextVar("ptemporal_current_requests", default=())
"""The entries that this asyncio task, or the code that started it, has pushed."""


class TaskStack(MutableSequence[Any]):
    """The entries of this thread from before, and on top of them the entries of the asyncio task that runs now."""

    def __init__(self, below: MutableSequence[Any]) -> None:
        self._below = below

    @property
    def _entries(self) -> list[Any]:
        return [*self._below, *_pushed.get()]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: Any) -> Any:
        return self._entries[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        entries = self._entries
        entries[index] = value
        self._replace(entries)

    def __delitem__(self, index: Any) -> None:
        entries = self._entries
        del entries[index]
        self._replace(entries)

    def insert(self, index: int, value: Any) -> None:
        entries = self._entries
        entries.insert(index, value)
        self._replace(entries)

    def _replace(self, entries: list[Any]) -> None:
        kept = min(len(self._below), len(entries))
        self._below[:] = entries[:kept]
        _pushed.set(tuple(entries[kept:]))


def keep_apart() -> None:
    """From now on, keep the current requests of this thread's asyncio tasks apart. A second call does nothing."""
    if not isinstance(manager.stack, TaskStack):
        manager.stack = TaskStack(manager.stack)
