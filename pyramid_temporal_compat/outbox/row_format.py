"""Encode the units of one transaction as the content of an outbox row, and decode them again.

Version 1 is JSON: `{"units": [[payload, …], …], "clock": moment}`. A payload is `{"metadata": {name: bytes}, "data":
bytes}`, where bytes are a text or `{"base64": text}`. A payload that is encrypted on the wire is encrypted here, too.
"""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Sequence
from typing import Any

from ..exceptions import InvalidTaskError, PayloadTooLarge
from ..message.celery_call import CeleryCall, is_celery_call
from ..message.outgoing import Outgoing
from ..message.tree import read_unit
from ..message.workflow_call import WorkflowCall, is_workflow_call
from ..payload import Payload
from ..payload.bounds import OutOfBounds, check_json, read_json, read_together
from ..payload.codecs import Codec

VERSION = 1
"""Raise it together with the version of messages, and whenever this format changes: older relays then leave the newer
rows alone."""
MOST_BYTES = 256 * 1024 * 1024
MOST_VALUES = 10_000_000
"""Bytes of a row, before and after the codecs, and values in it: some 150,000 messages. A larger transaction fails in
its commit, because no relay would read its row."""


def encode_units(units: Sequence[Outgoing], codec: Codec) -> bytes:
    """Return the row content for these units, with this process' clock beside them."""
    written = [[_payload_to_json(codec.encode(payload)) for payload in unit.encode()] for unit in units]
    clock = datetime.datetime.now(datetime.timezone.utc).isoformat()
    data = json.dumps({"units": written, "clock": clock}, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        with read_together(MOST_BYTES, MOST_VALUES):
            _check_row(data)
    except OutOfBounds as error:
        raise PayloadTooLarge(f"the messages of this transaction don't fit in an outbox row: {error}") from None
    return data


def decode_units(data: bytes, codec: Codec) -> list[Outgoing]:
    """Return the units that `encode_units` was given. Raise `InvalidTaskError` for any other content."""
    with read_together(MOST_BYTES, MOST_VALUES):
        return _decode_units(data, codec)


def _check_row(data: bytes) -> None:
    if len(data) > MOST_BYTES:
        raise OutOfBounds(f"it would have {len(data):,} bytes, and {MOST_BYTES:,} are allowed")
    check_json(data)


def _decode_units(data: bytes, codec: Codec) -> list[Outgoing]:
    try:
        if len(data) > MOST_BYTES:
            raise OutOfBounds
        units = [[_payload_from_json(payload) for payload in unit] for unit in read_json(data)["units"]]
    except RecursionError:
        raise InvalidTaskError(f"an outbox row of {len(data)} bytes is nested too deeply to be read") from None
    except OutOfBounds:
        raise InvalidTaskError(
            f"an outbox row of {len(data):,} bytes holds more than a relay reads: {MOST_BYTES:,} bytes and "
            f"{MOST_VALUES:,} values"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        # The error does not show the content, because it may hold arguments: people see the error, and it is logged.
        raise InvalidTaskError(
            f"an outbox row holds {len(data)} bytes that the outbox did not write; look at the row's `units`"
        ) from None
    return [_unit([codec.decode(payload) for payload in unit]) for unit in units]


def sender_clock(data: bytes) -> datetime.datetime | None:
    """Return the time that the sender's clock showed when it wrote the row.

    The messages' `eta` and `expires` are times of the same clock.
    """
    with read_together(MOST_BYTES, MOST_VALUES):
        written = read_json(data).get("clock")
    return datetime.datetime.fromisoformat(written) if written else None


def _unit(payloads: list[Payload]) -> Outgoing:
    try:
        first, *body = payloads
    except ValueError:
        raise InvalidTaskError("a row of the outbox holds a unit without payloads") from None
    if is_celery_call(first.data):
        return CeleryCall.decode(first.data, body)
    return WorkflowCall.decode(first.data, body) if is_workflow_call(first.data) else read_unit(first, body)


def _payload_to_json(payload: Payload) -> dict[str, Any]:
    metadata = {name: _bytes_to_json(value) for name, value in payload.metadata.items()}
    return {"metadata": metadata, "data": _bytes_to_json(payload.data)}


def _payload_from_json(written: dict[str, Any]) -> Payload:
    metadata = {name: _bytes_from_json(value) for name, value in written["metadata"].items()}
    return Payload(metadata, _bytes_from_json(written["data"]))


def _bytes_to_json(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _bytes_from_json(written: str | dict[str, str]) -> bytes:
    return written.encode() if isinstance(written, str) else base64.b64decode(written["base64"], validate=True)
