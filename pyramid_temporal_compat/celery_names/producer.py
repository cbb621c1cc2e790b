"""kombu's class `Producer`, whose method `publish` monitoring tools wrap, to trace it and to add headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .refused import NO_BROKER, Unsupported


class Producer:
    """Stands for kombu's class of this name. An application can't make one: messages of tasks alone are published."""

    headers: Mapping[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise Unsupported(f"kombu.Producer is refused here. {NO_BROKER}")

    def publish(self, body: Any, routing_key: Any = None, headers: Any = None, **properties: Any) -> None:
        """Take the headers with which the message leaves."""
        self.headers = headers


OWN_PUBLISH = Producer.publish
"""The method that no tool has wrapped."""


class TaskProducer(Producer):
    """The producer of one message of a task."""

    def __init__(self) -> None:
        self.headers = {}
