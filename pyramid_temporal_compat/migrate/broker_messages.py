"""A message of a live broker of Celery's, as it was read, and the queue that holds it."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..payload.bounds import read_json

DEFAULT_QUEUE = "celery"
OWN_QUEUES = (".celery.pidbox", ".reply.celery.pidbox")
"""Ends of the names of Celery's own queues: for control orders, and for the replies to them."""
EVENT_QUEUES = "celeryev"
"""The beginning of the names of Celery's queues of events."""


@dataclass(frozen=True)
class BrokerMessage:
    """What one message of the broker tells about itself."""

    task: str
    size: int
    content_type: str
    eta: dt.datetime | None = None
    priority: int | None = None
    sent: dt.datetime | None = None


@dataclass
class BrokerQueue:
    """A queue of the broker, with the messages that were read."""

    name: str
    length: int = 0
    messages: list[BrokerMessage] = field(default_factory=list)
    unreadable: int = 0

    def add(self, message: BrokerMessage | None) -> None:
        if message is None:
            self.unreadable += 1
        else:
            self.messages.append(message)


@dataclass
class Broker:
    url: str
    queues: list[BrokerQueue]
    unacked: BrokerQueue = field(default_factory=lambda: BrokerQueue("unacked"))
    oldest_unacked: dt.datetime | None = None


def queues_of_tasks(names: Iterable[str]) -> list[str]:
    """Return the names of the queues to look into: these and Celery's default, without Celery's own queues."""
    found = {DEFAULT_QUEUE, *names}
    return sorted(name for name in found if not name.endswith(OWN_QUEUES) and not name.startswith(EVENT_QUEUES))


# --- messages ---------------------------------------------------------------------------------------


def read_message(envelope: Any) -> BrokerMessage | None:
    """Read kombu's envelope of a message, as Redis holds it; None if it is none."""
    if not isinstance(envelope, Mapping) or not isinstance(envelope.get("body"), str):
        return None
    properties = envelope.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    body: bytes = envelope["body"].encode()
    if properties.get("body_encoding") == "base64":
        try:
            body = base64.b64decode(body)
        except (ValueError, binascii.Error):
            return None
    return described(body, str(envelope.get("content-type") or ""), envelope.get("headers"), properties)


def described(body: bytes, content_type: str, headers: Any, properties: Mapping[str, Any]) -> BrokerMessage | None:
    """Return what a message tells: from its headers, or from its body if it is of protocol 1."""
    told: Any = headers if isinstance(headers, Mapping) and headers.get("task") else _of_body(body)
    if not isinstance(told, Mapping) or not isinstance(told.get("task"), str):
        return None
    priority = properties.get("priority")
    return BrokerMessage(
        told["task"],
        len(body),
        content_type,
        _time(told.get("eta")),
        priority if isinstance(priority, int) and not isinstance(priority, bool) else None,
        _time(properties.get("timestamp")),
    )


def _of_body(body: bytes) -> Any:
    try:
        return read_json(body)
    except (ValueError, RecursionError):
        return None


def _time(value: Any) -> dt.datetime | None:
    """Return a moment that a message has as seconds, as a datetime or as a text; None if it has none."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return dt.datetime.fromtimestamp(value, dt.timezone.utc)
        if isinstance(value, str):
            value = dt.datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (ValueError, OverflowError, OSError):
        return None
    if not isinstance(value, dt.datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)
