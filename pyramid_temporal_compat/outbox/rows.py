"""What a row of the outbox carries: the units of one transaction, their payloads encoded as on the wire.

Version 1 is JSON, `{"units": [[payload, …], …], "clock": moment}`, and a payload is `{"metadata": {name: bytes},
"data": bytes}`, where bytes are a text or `{"base64": text}`. What is encrypted on the wire is encrypted here.
"""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Sequence
from typing import Any

from ..exceptions import InvalidTaskError
from ..message.message import Message
from ..message.tree import Tree, Unit, is_tree
from ..payload import Payload
from ..payload.codecs import Codec

VERSION = 1
"""Raised with the version of messages, and when a row is written otherwise: older relays leave newer rows alone."""


def write(units: Sequence[Unit], codec: Codec) -> bytes:
    written = [[_written(codec.encode(payload)) for payload in unit.encode()] for unit in units]
    clock = datetime.datetime.now(datetime.timezone.utc).isoformat()
    return json.dumps({"units": written, "clock": clock}, separators=(",", ":"), ensure_ascii=False).encode()


def read(data: bytes, codec: Codec) -> list[Unit]:
    """What `write` was given. Raises `InvalidTaskError` for what it did not make."""
    try:
        units = [[_read(payload) for payload in unit] for unit in json.loads(data)["units"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        # Not the data: it may hold arguments, and this is shown and logged.
        raise InvalidTaskError(f"what the row holds, {len(data)} bytes, is nothing that the outbox wrote") from None
    return [_unit([codec.decode(payload) for payload in unit]) for unit in units]


def clock(data: bytes) -> datetime.datetime | None:
    """What the sender's clock showed as the row was written: its `eta` and `expires` are by that clock."""
    written = json.loads(data).get("clock")
    return datetime.datetime.fromisoformat(written) if written else None


def _unit(payloads: list[Payload]) -> Unit:
    try:
        first, *rest = payloads
        if is_tree(first.data):
            return Tree.decode(payloads)
        (body,) = rest
    except ValueError:
        raise InvalidTaskError(f"a row of the outbox holds a unit of {len(payloads)} payloads") from None
    return Message.decode(first.data, body)


def _written(payload: Payload) -> dict[str, Any]:
    metadata = {name: _as_text(value) for name, value in payload.metadata.items()}
    return {"metadata": metadata, "data": _as_text(payload.data)}


def _read(written: dict[str, Any]) -> Payload:
    metadata = {name: _as_bytes(value) for name, value in written["metadata"].items()}
    return Payload(metadata, _as_bytes(written["data"]))


def _as_text(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _as_bytes(written: str | dict[str, str]) -> bytes:
    return written.encode() if isinstance(written, str) else base64.b64decode(written["base64"], validate=True)
