"""Write a message or a canvas as Celery's own messages, in protocol 2, for workers of Celery.

Celery's message of a chain holds the later steps, and the message of a task holds its links. A group is one message for
each member. A chord is counted in Celery's result backend, and a group within a chain becomes a chord. So both can only
be written by Celery, and raise `NotForCelery` here.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..exceptions import CeleryError, ContentDisallowed
from ..payload.bounds import read_json
from ..payload.serializers import find
from ..payload.types import TYPE, dumps
from .body import read_body
from .celery_call import CeleryCall
from .celery_view import STAMPED_HEADERS, STAMPS, protocol_headers
from .message import Message
from .nodes import ChainNode, GroupNode, Node, TaskNode
from .tree import Unit

KNOWN_TO_KOMBU = frozenset({"base64", "bytes", "date", "datetime", "decimal", "time", "uuid"})
"""The types beyond JSON that kombu's JSON has, too. Others, such as sets, exist in our JSON only."""
WRITERS = ("json", "pickle")
WRITTEN = "a body for Celery is json or pickle"
"""The serialisers in which a body is written for Celery."""
HIGHEST_PRIORITY = 9
NO_EMBED: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
"""The third part of a body, after the arguments, for a task without links and outside any canvas."""


class NotForCelery(CeleryError):
    """A message or canvas can't be written as Celery would write it. The text says why."""


def calls_for_celery(unit: Unit, url: str) -> list[CeleryCall]:
    """Return the messages of Celery's that do what the unit does.

    :raises NotForCelery: if only a worker of this package can run the unit.
    """
    root = TaskNode(unit) if isinstance(unit, Message) else unit.root
    if isinstance(root, GroupNode):
        if root.links or root.errbacks:
            raise NotForCelery("a group with callbacks is a chord for Celery")
        return [_call(steps_of(member), url) for member in root.members]
    return [_call(steps_of(root), url)]


def steps_of(node: Node) -> list[TaskNode]:
    """Return the tasks of a chain, one after the other; a single task is a chain of one."""
    if isinstance(node, TaskNode):
        return [node]
    if isinstance(node, ChainNode):
        return [task for step in node.steps for task in steps_of(step)]
    raise NotForCelery(f"a {node.kind} within a canvas is a chord for Celery, which counts it in its result backend")


def _call(steps: Sequence[TaskNode], url: str) -> CeleryCall:
    first, *later = steps
    message = first.message
    if message.chord is not None:
        raise NotForCelery("it is in the header of a chord, which Celery counts in its result backend")
    embed = {
        **NO_EMBED,
        "callbacks": _signatures(first.links) or None,
        "errbacks": _signatures(first.errbacks) or None,
        "chain": [_signature(step) for step in reversed(later)] or None,  # Celery takes the next step from the end
    }
    return celery_call(message, url, _arguments(message), embed, tuple(step.message for step in steps))


def celery_call(
    message: Message,
    url: str,
    arguments: tuple[list[Any], dict[str, Any]],
    embed: Mapping[str, Any],
    messages: tuple[Message, ...],
) -> CeleryCall:
    """Return the call of a message whose arguments are given as values. `embed` has its links and its chain."""
    if message.serializer not in WRITERS:
        raise NotForCelery(f"its serializer is {message.serializer!r}; {WRITTEN}")
    serializer = find(message.serializer)
    body = (*arguments, dict(embed))
    written = pickle.dumps(body, protocol=2) if message.serializer == "pickle" else _as_json(body, "the arguments")
    headers = {
        **protocol_headers(message),
        "root_id": message.root_id or message.id,
        "ignore_result": bool(message.ignore_result),
        **message.headers,
    }
    _as_json(headers, "the headers")
    return CeleryCall(
        url,
        message.task,
        message.id,
        message.queue,
        serializer.content_type,
        serializer.content_encoding,
        written,
        headers,
        dict(message.properties),
        None if message.priority is None else min(message.priority, HIGHEST_PRIORITY),
        messages,
    )


def _arguments(message: Message) -> tuple[list[Any], dict[str, Any]]:
    try:
        found = read_body(message, WRITERS)
    except ContentDisallowed:
        raise NotForCelery(f"the serializer of {message.task} is {message.serializer!r}; {WRITTEN}") from None
    return list(found["args"]), found["kwargs"]


def _as_json(value: Any, name: str) -> bytes:
    written = dumps(value, name)
    if b'"' + TYPE.encode() + b'"' in written:
        read_json(written, _refuse_own_types)
    return written


def _refuse_own_types(found: dict[str, Any]) -> dict[str, Any]:
    if (marker := found.get(TYPE)) is not None and marker not in KNOWN_TO_KOMBU:
        raise NotForCelery(f"it holds a {marker}, which Celery's JSON does not have")
    return found


# --- links and later steps ---------------------------------------------------------------------------


def _signatures(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    return [_signature(node) for node in _single_tasks(nodes)]


def _single_tasks(nodes: Sequence[Node]) -> Iterator[TaskNode]:
    for node in nodes:
        if isinstance(node, TaskNode):
            yield node
        elif isinstance(node, GroupNode) and node.of_links:
            yield from _single_tasks(node.members)
        else:
            raise NotForCelery(f"a {node.kind} is linked to a task")


def _signature(node: TaskNode) -> dict[str, Any]:
    """Return the signature of a task that a worker of Celery sends later."""
    args, kwargs = _arguments(node.message)
    return {
        "task": node.message.task,
        "args": args,
        "kwargs": kwargs,
        "options": {name: value for name, value in _options(node).items() if value not in (None, {}, [])},
        "subtask_type": None,
        "immutable": not node.takes,
    }


def _options(node: TaskNode) -> dict[str, Any]:
    message = node.message
    counted = message.countdown is not None
    expires = message.expires and message.expires.isoformat()
    return {
        "task_id": message.id,
        "queue": message.queue,
        "countdown": message.countdown,
        "eta": message.eta.isoformat() if message.eta and not counted else None,
        "expires": message.expires_in if message.expires_in is not None else expires,
        "priority": message.priority,
        "time_limit": message.time_limit,
        "soft_time_limit": message.soft_time_limit,
        "shadow": message.shadow,
        "ignore_result": message.ignore_result,
        "group_id": message.group,
        "group_index": message.group_index,
        "serializer": message.serializer,
        "headers": {name: value for name, value in message.headers.items() if name not in (STAMPED_HEADERS, STAMPS)},
        "link": _signatures(node.links),
        "link_error": _signatures(node.errbacks),
        **message.properties,
    }
