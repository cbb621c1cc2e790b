"""Tells the metrics of a web process, or of a worker, how each dispatch ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ..signals import Signal


@dataclass(frozen=True)
class DispatchEnd:
    """How the messages of one transaction, or of one call outside a transaction, reached the server."""

    seconds: float
    """From the commit until the server had all messages, or until they were given up."""
    kept: int = 0
    """How many did not reach the server, and wait in an outbox."""
    lost: int = 0
    """How many did not reach the server, and are in no outbox: the caller got an error, or the log has them."""


dispatch_ended = Signal(name="dispatch_ended", providing_args=["end"])
"""Sent by the thread that waited, or by the event loop's: receivers must not wait. It is no signal of Celery's."""


_of_this_run: ContextVar[Callable[[DispatchEnd], None] | None] = ContextVar("ptemporal_dispatch_ends", default=None)


@contextmanager
def dispatch_ends_told_to(listener: Callable[[DispatchEnd], None]) -> Iterator[None]:
    """Have a listener called for the dispatches of the block: of the task that runs in it.

    A signal would not do. In the pool `prefork`, the task runs in a child process, and the metrics are in the worker's.
    """
    token = _of_this_run.set(listener)
    try:
        yield
    finally:
        _of_this_run.reset(token)


def tell_dispatch_end(end: DispatchEnd) -> None:
    """Tell how a dispatch ended."""
    if (listener := _of_this_run.get()) is not None:
        listener(end)
    if dispatch_ended.receivers:
        dispatch_ended.send(sender=None, end=end)
