"""Results and errors that name the task that they are of, so that no other signed value can stand for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..exceptions import SecurityError
from ..message import wire_names as wire
from ..message.message import Message
from ..payload import Payload
from ..payload.serializers import SIGNED, deserialize, serialize
from .signed_places import Result, accepts_only_signed, digest

if TYPE_CHECKING:
    from ..interfaces import AppLike

SIGNATURE = "signature"
"""Key of an error on the wire: the signature over the error and the task that it is of."""
ADDED_LATER = (SIGNATURE, wire.RETRIES, "children")
"""Keys that are no part of the signed error."""


def write_result(app: AppLike, message: Message, value: Any) -> Payload:
    """Return the result of a task as a payload."""
    serializer = app.conf["result_serializer"]
    if serializer == SIGNED:
        value = {"result": value, "id": message.id, "chord": message.chord}
    payload = serialize(value, serializer, app.conf["result_compression"])
    return payload if serializer != SIGNED else Payload({**payload.metadata, wire.SIGNED_RESULT: b"1"}, payload.data)


def read_result(app: AppLike, payload: Payload) -> Result:
    """Return the result that `write_result` wrote. Raise `SecurityError` if it must be signed and is not."""
    accepted = app.conf["result_accept_content"] or app.conf["accept_content"]
    signed_only = set(accepted) == {SIGNED}
    value = deserialize(payload, accepted, "result_accept_content")
    if not signed_only and wire.SIGNED_RESULT not in payload.metadata:
        return Result(value)
    if not isinstance(value, Mapping) or not {"result", "id", "chord"} <= value.keys():
        raise SecurityError("a signed value came in the place of a result, and it was not signed as a result")
    return Result(value["result"], value["id"], value["chord"])


def value_for(app: AppLike, task_id: str, payload: Payload) -> Any:
    """Return the value of a task's result. Raise `SecurityError` if it was signed as the result of another task."""
    found = read_result(app, payload)
    if found.id not in (None, task_id):
        raise SecurityError(f"the result of task {task_id} was signed as the result of another task: not returned")
    return found.value


def with_signature(app: AppLike, message: Message, error: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the error of a task with a signature, if messages are signed."""
    if not accepts_only_signed(app):
        return error
    signed = {"error": _digest_of(wire.plain(error)), "id": message.id}
    return {**error, SIGNATURE: serialize(signed, SIGNED).data.decode()}


def is_signed_error(task_id: str, error: Mapping[str, Any]) -> bool:
    """Return whether a worker has signed this error as the error of this task."""
    try:
        found = deserialize(_signature_payload(str(error[SIGNATURE])), [SIGNED])
        return bool(found["error"] == _digest_of(error) and found["id"] == task_id)
    except (SecurityError, KeyError, TypeError):
        return False


def _digest_of(error: Mapping[str, Any]) -> str:
    return digest({name: value for name, value in error.items() if name not in ADDED_LATER})


def _signature_payload(text: str) -> Payload:
    metadata = {"encoding": b"binary/plain", "content-type": b"application/data", "content-encoding": b"utf-8"}
    return Payload(metadata, text.encode(errors="replace"))
