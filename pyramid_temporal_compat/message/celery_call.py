"""A call of a task that Celery's workers run: a message of Celery's that waits for a commit. A frozen value.

It holds the message as it goes into the broker, in Celery's protocol 2, and the broker's URL. In an outbox row a call
is two payloads: its headers and its address as JSON, and its body as bytes. The outbox's codecs encrypt both, with the
password in the URL.
"""

from __future__ import annotations

import contextvars
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..exceptions import InvalidTaskError
from ..log_lines.text_safety import one_line
from ..payload import Payload
from ..payload.bounds import read_json
from .message import Message, call_repr, is_name, is_queue, readable

if TYPE_CHECKING:
    from ..payload.codecs import Codec

MARK = "ptemporal-celery"
VERSION = 1
AWAITED = "ptemporal_awaited"
"""A header of a message that `worker --to-celery` publishes: its task's workflow waits for the result."""


@dataclass(frozen=True)
class CeleryCall:
    """One message for a queue of Celery's broker."""

    url: str = field(repr=False)
    """The broker's URL, with its password."""
    task: str
    id: str
    queue: str
    content_type: str
    content_encoding: str
    body: bytes = field(repr=False)
    """The arguments, and the links and chain, as the serialiser wrote them."""
    headers: Mapping[str, Any]
    """Celery's standard headers and the application's own, as plain JSON."""
    properties: Mapping[str, Any]
    """The properties that the application has set, such as `app_id`."""
    priority: int | None = None
    """0 to 9, 9 goes first."""
    messages: tuple[Message, ...] = field(default=(), repr=False, compare=False)
    """The tasks of the call, in the process that made it. They do not travel."""

    @property
    def eta(self) -> datetime.datetime | None:
        """The task does not start before this moment."""
        found = self.headers.get("eta")
        return None if found is None else datetime.datetime.fromisoformat(found)

    @property
    def publish_retry(self) -> None:
        """Return no retry policy: the call is sent again until `ptemporal.dispatch_timeout`."""

    @property
    def publish_context(self) -> contextvars.Context | None:
        """The context in which the signals about the call are sent; None in another process than the caller's."""
        return self.messages[0].publish_context if self.messages else None

    @property
    def summary(self) -> str:
        """The call in one line, for people."""
        shown = call_repr(str(self.headers.get("argsrepr")), str(self.headers.get("kwargsrepr")))
        return one_line(f"{self.task}{shown} on Celery")

    def encode(self) -> list[Payload]:
        about = {MARK: VERSION, **{name: getattr(self, name) for name in _CHECKS}}
        return [_as_payload(about), Payload({"encoding": b"binary/plain"}, self.body)]

    @classmethod
    def decode(cls, about: bytes, others: Sequence[Payload]) -> CeleryCall:
        """Read a call that `encode` wrote."""
        try:
            (body,) = others
            found = read_json(about)
            parts = {name: found[name] for name in _CHECKS}
            is_known = int(found[MARK]) <= VERSION
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise InvalidTaskError(f"not a call of a Celery task: {len(about)} bytes that can't be read") from None
        wrong = [name for name, is_valid in _CHECKS.items() if not is_valid(parts[name])]
        if wrong or not is_known:
            said = ", ".join(wrong) or f"version {found[MARK]!r:.20}"
            raise InvalidTaskError(f"not a call of a Celery task that this release can send: {said}")
        return cls(body=body.data, **parts)

    def for_log(self, codec: Codec | None = None) -> str:
        """Return the call as one line of JSON, encoded by `codec`. The broker's URL is left out for its password."""
        about = {name: getattr(self, name) for name in _CHECKS if name != "url"}
        body = Payload({"encoding": b"binary/plain"}, self.body)
        return json.dumps({"call": readable(_as_payload(about), codec), "body": readable(body, codec)})


def _as_payload(about: Mapping[str, Any]) -> Payload:
    text = json.dumps(about, separators=(",", ":"), default=dict)
    return Payload({"encoding": b"json/plain"}, text.encode())


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_priority(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 9)


_CHECKS = {
    "url": is_name,
    "task": is_name,
    "id": is_name,
    "queue": is_queue,
    "content_type": is_name,
    "content_encoding": is_name,
    "headers": _is_mapping,
    "properties": _is_mapping,
    "priority": _is_priority,
}
"""The parts that travel as JSON, each with the check of a received value."""


def is_celery_call(data: bytes) -> bool:
    """Return whether this is the first payload of a call of Celery's."""
    return data.startswith(b'{"' + MARK.encode())
