"""kombu's class `Producer`, whose method `publish` monitoring tools wrap, to trace it and to add headers.

The class is refused to applications, as other classes of kombu are. Its method is called for messages of tasks.
"""

from __future__ import annotations

from typing import Any

from .refused import NO_BROKER, placeholder, take_headers

Producer: Any = placeholder("kombu.Producer", NO_BROKER)


def is_wrapped() -> bool:
    """Return whether a tool has wrapped `Producer.publish`."""
    return Producer.publish is not take_headers


class TaskProducer(Producer):  # type: ignore[misc]
    """The producer of one message of a task."""

    headers: Any = None
    """The headers with which the message leaves."""


def task_producer() -> TaskProducer:
    """Return a producer for one message."""
    made: TaskProducer = object.__new__(TaskProducer)  # the call of a refused class raises
    return made
