"""A message of a live broker of Celery's, as it was read, and the queue that holds it."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..celery_names.urls import sanitize_url
from ..exceptions import OperationalError
from ..payload.bounds import read_json


@dataclass(frozen=True)
class Message:
    """What one message of the broker tells about itself."""

    task: str
    size: int
    content_type: str
    eta: dt.datetime | None = None
    priority: int | None = None
    sent: dt.datetime | None = None


@dataclass
class Queue:
    """A queue of the broker, with the messages that were read."""

    name: str
    length: int = 0
    messages: list[Message] = field(default_factory=list)
    unreadable: int = 0

    def add(self, message: Message | None) -> None:
        if message is None:
            self.unreadable += 1
        else:
            self.messages.append(message)


@dataclass
class Broker:
    url: str
    queues: list[Queue]
    unacked: Queue = field(default_factory=lambda: Queue("unacked"))
    oldest_unacked: dt.datetime | None = None


def bounded(names: Iterable[str]) -> list[str]:
    """Return queue names without the ones of Celery's own: replies to control orders, and events."""
    own = (".celery.pidbox", ".reply.celery.pidbox", "celeryev")
    return sorted({name for name in names if not name.endswith(own[:2]) and not name.startswith(own[2])})


def unreachable(url: str, error: Exception) -> OperationalError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return OperationalError(f"the broker at {sanitize_url(url)} can't be read: {reason}")


# --- messages ---------------------------------------------------------------------------------------


def read_message(envelope: Any) -> Message | None:
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


def described(body: bytes, content_type: str, headers: Any, properties: Mapping[str, Any]) -> Message | None:
    """Return what a message tells: from its headers, or from its body if it is of protocol 1."""
    told: Any = headers if isinstance(headers, Mapping) and headers.get("task") else _of_body(body)
    if not isinstance(told, Mapping) or not isinstance(told.get("task"), str):
        return None
    priority = properties.get("priority")
    return Message(
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
