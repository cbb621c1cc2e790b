"""Tells whoever watches a request what becomes of its calls: the panel of pyramid_debugtoolbar."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Protocol


class CallWatch(Protocol):
    """Called in the request's own thread. It raises nothing."""

    def called(self, message: Any) -> None:
        """The request has called a task, a canvas or a workflow."""

    def sent(self, unit: Any) -> None:
        """The server has accepted a unit: a message, or several as one bundle."""

    def dropped(self, messages: Iterable[Any], why: str) -> None:
        """These messages never leave."""


watch: ContextVar[CallWatch | None] = ContextVar("ptemporal_call_watch", default=None)
"""The watch of the current request. In a production process nobody sets it."""


def tell_called(message: Any) -> None:
    """Tell of a call, before it is enlisted or sent."""
    if (watching := watch.get()) is not None:
        watching.called(message)


def tell_sent(unit: Any) -> None:
    """Tell of a unit that the server has accepted."""
    if (watching := watch.get()) is not None:
        watching.sent(unit)


def tell_dropped(messages: Iterable[Any], why: str) -> None:
    """Tell of messages that were dropped."""
    if (watching := watch.get()) is not None:
        watching.dropped(list(messages), why)
