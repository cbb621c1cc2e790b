"""kombu's class `Producer`, whose method `publish` monitoring tools wrap, to trace it and to add headers.

The class is refused to applications, as other classes of kombu are. Its method is called for messages of tasks.
"""

from __future__ import annotations

from typing import Any

from .refused import NO_BROKER, placeholder

Producer: Any = placeholder("kombu.Producer", NO_BROKER)


OWN_PUBLISH = Producer.publish
"""The method that no tool has wrapped."""


class TaskProducer:
    """The producer of one message of a task: the `self` of `Producer.publish`."""

    headers: Any = None
    """The headers with which the message leaves."""
