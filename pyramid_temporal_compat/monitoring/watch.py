"""What a worker tells of each task that it takes, for whoever counts."""

from __future__ import annotations

from typing import Protocol

from ..enlist.dispatch_end import DispatchEnd
from ..message.message import Message


class TaskWatch(Protocol):
    """Called on the worker's event loop. It raises nothing, and it does not wait."""

    def received(self, message: Message, waited: float) -> None:
        """The worker has taken an attempt of the task, which was in its queue for `waited` seconds."""

    def started(self, message: Message) -> None:
        """The task's function is about to be called."""

    def succeeded(self, message: Message, seconds: float) -> None:
        """The task has ended with a result."""

    def failed(self, message: Message, exception: str) -> None:
        """The task has ended with an error, of this class."""

    def retried(self, message: Message) -> None:
        """The task asked for another attempt."""

    def rejected(self, message: Message) -> None:
        """The task raised `Reject`."""

    def revoked(self, message: Message) -> None:
        """The task was revoked, or came after its time."""

    def left_receipt(self, message: Message) -> None:
        """The task's transaction has committed a receipt."""

    def found_receipt(self, message: Message) -> None:
        """The task was done already: an earlier run, whose worker was lost, has left its receipt."""

    def dispatched(self, end: DispatchEnd) -> None:
        """A task has called other tasks, and this is how their dispatch ended."""


class NobodyWatches:
    """The watch of a worker without metrics."""

    def started(self, message: Message) -> None:
        """Count nothing."""

    retried = rejected = revoked = left_receipt = found_receipt = started

    def received(self, message: Message, waited: float) -> None:
        """Count nothing."""

    def succeeded(self, message: Message, seconds: float) -> None:
        """Count nothing."""

    def failed(self, message: Message, exception: str) -> None:
        """Count nothing."""

    def dispatched(self, end: DispatchEnd) -> None:
        """Count nothing."""
