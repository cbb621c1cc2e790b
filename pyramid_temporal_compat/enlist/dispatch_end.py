"""Tells the metrics of a web process how each dispatch ended."""

from __future__ import annotations

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


def tell_dispatch_end(end: DispatchEnd) -> None:
    """Tell how a dispatch ended."""
    if dispatch_ended.receivers:
        dispatch_ended.send(sender=None, end=end)
