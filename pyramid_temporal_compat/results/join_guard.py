"""Refuse to wait for a result inside a task, because the two tasks could wait for the same worker for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..context import worker_frame

WOULD_BLOCK = (
    "result.get() in a task waits for a task that may wait for this worker: link the tasks instead (a callback, a "
    "chain, a chord), or, if you know that this can't happen, use `with allow_join_result():`"
)

_joins_allowed: ContextVar[bool | None] = ContextVar("ptemporal_joins_allowed", default=None)


def task_join_will_block() -> bool:
    """Tell whether waiting for a result is refused here: inside a task, unless the task has allowed it."""
    allowed = _joins_allowed.get()
    return worker_frame() is not None if allowed is None else not allowed


def assert_will_not_block() -> None:
    """Raise `RuntimeError` if waiting for a result is refused here."""
    if task_join_will_block():
        raise RuntimeError(WOULD_BLOCK)


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Allow waiting for results inside the `with` block, also in a task."""
    token = _joins_allowed.set(True)
    try:
        yield
    finally:
        _joins_allowed.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Refuse waiting for results inside the `with` block."""
    token = _joins_allowed.set(False)
    try:
        yield
    finally:
        _joins_allowed.reset(token)
