"""The body of a message: the arguments of a call, as the payloads that the web UI shows as the workflow's Input.

Arguments in plain JSON are written one by one, as every Temporal client writes them: one payload for each positional
argument. A client in another language calls a task in the same form, so there is one reader for both.

Temporal has no keyword arguments. They are one more payload, the last one: a JSON object whose metadata has the key
`ptemporal-kwargs`. The mark is in the metadata because only there it can't be mistaken for an argument: a task's last
positional argument may be any object. The Input shows the object as people know it. The command `temporal` can write
the mark (`--input-meta`), and so can every SDK that lets a payload be written by hand.

Another serialiser, a compression or a signature covers all arguments together. Such a body is one payload, whose
metadata has the key `ptemporal-body`. Its value is a dict of `args`, `kwargs`, and what else was signed with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..exceptions import InvalidTaskError
from ..payload import Payload
from ..payload.bounds import read_together
from ..payload.serializers import JSON_TYPE, deserialize, find, json_payload, serialize
from .message import Message

KWARGS = "ptemporal-kwargs"
"""Metadata key of the payload that holds the keyword arguments."""
WHOLE = "ptemporal-body"
"""Metadata key of a payload that holds the whole body."""

SHOWN = 80
"""Characters of one argument that `shown` returns."""


def write_body(content: Mapping[str, Any], serializer: str, compression: str | None = None) -> tuple[Payload, ...]:
    """Return the payloads of a body. Raise `NotSerializable` if a value can't be written.

    :param content: `args` and `kwargs`, and for a signed body what is signed with them.
    """
    args, kwargs = content["args"], content["kwargs"]
    chosen = find(serializer)
    if compression or chosen.content_type != JSON_TYPE:
        whole = {**content, "args": list(args), "kwargs": dict(kwargs)}
        return (_marked(serialize(whole, serializer, compression, "arguments"), WHOLE),)
    payloads = [json_payload(chosen, value, "arguments") for value in args]
    if kwargs:
        payloads.append(_marked(json_payload(chosen, dict(kwargs), "arguments"), KWARGS))
    return tuple(payloads)


def read_body(message: Message, accept: Collection[str]) -> dict[str, Any]:
    """Return `args` and `kwargs` of the message, and for a signed body what was signed with them.

    Anyone may have written it. So its payloads share one bound, and the form is checked.
    """
    with read_together():
        body = _read(message.body, accept)
    where = f"task {message.task}[{message.id}]"
    if not isinstance(body, Mapping) or not isinstance(body.get("args"), (list, tuple)):
        raise InvalidTaskError(f"{where}: the body holds no arguments")
    kwargs = body.get("kwargs")
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise InvalidTaskError(f"{where}: the body holds no keyword arguments; they are an object with names as keys")
    return dict(body)


def _read(payloads: Sequence[Payload], accept: Collection[str]) -> Any:
    if len(payloads) == 1 and WHOLE in payloads[0].metadata:
        return deserialize(payloads[0], accept)
    named = payloads[-1:] if payloads and KWARGS in payloads[-1].metadata else ()
    values = [deserialize(payload, accept) for payload in payloads]
    return {"args": values[: len(values) - len(named)], "kwargs": values[-1] if named else {}}


def shown(payloads: Sequence[Payload]) -> tuple[str, str]:
    """Return the arguments and keyword arguments of a body that nobody has described, as texts for people.

    The values are not decoded: workflow code calls this. A value in JSON is shown as JSON.
    """
    named = payloads[-1:] if payloads and KWARGS in payloads[-1].metadata else ()
    args = ", ".join(map(_shown, payloads[: len(payloads) - len(named)]))
    return f"({args})", _shown(named[0]) if named else "{}"


def _shown(payload: Payload) -> str:
    if payload.encoding != "json/plain":
        return f"<{payload.encoding}>"
    text = payload.data[: 4 * SHOWN].decode(errors="replace")
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _marked(payload: Payload, mark: str) -> Payload:
    return Payload({**payload.metadata, mark: b"1"}, payload.data)
