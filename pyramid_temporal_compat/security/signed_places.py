"""What a signed message may take from other tasks: the sender signs it together with the arguments.

A canvas gives a task more than its own arguments: the results of earlier tasks, the error of a failed task, the tasks
that are linked to it. The envelope says which, and anyone who can write to the namespace can write an envelope. So
with `accept_content = auth` the signed body names the task's *place* in its canvas:

`before`     whose results stand in front of the arguments
`error_of`   for an error callback: whose error does
`linked`     which tasks are linked to the task
`chord`      the chord whose header the task is in

A worker refuses everything else. Results are signed, too, each for the task that returned it (`signed_results`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..exceptions import ImproperlyConfigured, SecurityError
from ..log_lines.text_safety import one_line
from ..message.body import read_body, write_body
from ..message.message import Message
from ..message.nodes import ChainNode, ChordNode, GroupNode, Node, TaskNode
from ..message.scheduled import is_firing_of
from ..payload.serializers import SIGNED

if TYPE_CHECKING:
    from ..interfaces import AppLike

Place = Mapping[str, Any]
"""The part of a signed body that says what the task may take from others."""

NOTHING: Place = {}


@dataclass(frozen=True)
class Result:
    """A result, and what its signature says of it. Without a signature, `id` and `chord` are None."""

    value: Any
    id: str | None = None
    """The task that returned it."""
    chord: str | None = None
    """The chord whose header this task is in."""


SEPARATOR = b"\x00\x01"
"""Stands between the parts of a signed value: signer, signature, content type, encoding, value."""


def without_signature(data: bytes) -> bytes:
    """Return a signed value without its signature, which is another one each time; return other data as they are."""
    try:
        signer, _, *rest = base64.b64decode(data, validate=True).split(SEPARATOR, 4)
    except ValueError:
        return data
    return SEPARATOR.join([signer, *rest]) if len(rest) == 3 else data


def accepts_only_signed(app: AppLike) -> bool:
    """Return whether the app reads no message without a signature."""
    return set(app.conf["accept_content"]) == {SIGNED}


def digest(value: Any) -> str:
    """Return a short text that stands for plain data: other data has another digest."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# --- the sender ------------------------------------------------------------------------------------


def with_signed_places(app: AppLike, node: Node) -> Node:
    """Return the canvas with the place of each task in its signed body. Without signatures, return it unchanged."""
    return _placed(app, node, NOTHING) if accepts_only_signed(app) else node


def _placed(app: AppLike, node: Node, before: Place) -> Node:
    """:param before: what a task takes that stands first in `node`."""
    if isinstance(node, ChainNode):
        return replace(node, steps=tuple(_placed_steps(app, node.steps, before)))
    if isinstance(node, ChordNode):
        return replace(
            node,
            header=_each(app, node.header, before),
            body=_placed(app, node.body, _results(list(map(_ids, node.header)), chord=node.id)),
            errbacks=tuple(
                _placed(app, errback, _error(node.result_message.task, about))
                for errback, about in zip(
                    node.errbacks, node.errback_subjects or [node.id] * len(node.errbacks), strict=False
                )
            ),
        )
    links = _each(app, node.links, _results(_ids(node)))
    errbacks = _each(app, node.errbacks, _error(node.result_message.task, node.id))
    if isinstance(node, GroupNode):
        return replace(node, members=_each(app, node.members, before), links=links, errbacks=errbacks)
    place = {**(before if node.takes else NOTHING), **_chord(node.message), **_linked(node)}
    return replace(node, message=with_place(app, node.message, place), links=links, errbacks=errbacks)


def _each(app: AppLike, nodes: Sequence[Node], before: Place) -> tuple[Node, ...]:
    return tuple(_placed(app, node, before) for node in nodes)


def _placed_steps(app: AppLike, steps: Sequence[Node], before: Place) -> Iterator[Node]:
    for step in steps:
        yield _placed(app, step, before)
        before = _results(_ids(step))


def _ids(node: Node) -> Any:
    """Return the ids of the tasks whose results are the node's value, nested as the value is."""
    if isinstance(node, ChainNode):
        return _ids(node.steps[-1])
    if isinstance(node, ChordNode):
        return _ids(node.body)
    return list(map(_ids, node.members)) if isinstance(node, GroupNode) else node.id


def _results(ids: Any, chord: str | None = None) -> Place:
    """Return the place of a task that gets these results, and the results of tasks that join its running chord."""
    count = len(ids) if isinstance(ids, list) else None
    return {"before": {"ids": digest(ids), "count": count, "chord": chord}}


def _error(task: str, id: str) -> Place:
    return {"error_of": {"task": task, "id": id}}


def _chord(message: Message) -> Place:
    return NOTHING if message.chord is None else {"chord": message.chord}


def _linked(node: TaskNode) -> Place:
    return {"linked": digest(_outline(node))} if node.links or node.errbacks else NOTHING


def _outline(node: TaskNode | GroupNode) -> Any:
    """Return what is linked to a node: which tasks, under which ids, in which order."""

    def outline(part: Node) -> Any:
        return [part.kind, part.id, part.takes, [[role, outline(inner)] for role, inner in part.parts()]]

    return [[outline(link) for link in node.links], [outline(errback) for errback in node.errbacks]]


def with_place(app: AppLike, message: Message, place: Place) -> Message:
    """Return the message with its body signed anew, for this place."""
    if not place:
        return message
    if ("before" in place or "error_of" in place) and app.conf["result_serializer"] != SIGNED:
        raise ImproperlyConfigured(
            f"task {message.task!r} takes the result of another task, and with accept_content = ['auth'] it may take "
            f"signed results only: set result_serializer = 'auth' (it is {app.conf['result_serializer']!r})"
        )
    body = {**read_body(message, [SIGNED]), **place}
    return message.copy(body=write_body(body, SIGNED, message.compression))


def place_of_retry(app: AppLike, message: Message) -> Place:
    """Return the place that a retry of the message has. Its arguments hold the earlier results already."""
    if not accepts_only_signed(app):
        return NOTHING
    body = read_body(message, [SIGNED])
    return {name: body[name] for name in ("chord", "linked") if name in body}


# --- the worker ------------------------------------------------------------------------------------


def check_body(message: Message, body: Mapping[str, Any]) -> None:
    """Raise `SecurityError` if the body was signed for another task, id or chord, or if what it takes is missing."""
    where = f"task {message.task}[{message.id}]"
    # The arguments of a periodic task are signed once, for all its runs.
    is_own = body.get("id") == message.id or is_firing_of(message.id, str(body.get("id")))
    if body.get("task") != message.task or not is_own:
        raise SecurityError(
            f"{where}: its arguments were signed for {one_line(body.get('task'))}[{one_line(body.get('id'))}]: not run"
        )
    if body.get("chord") != message.chord:
        raise SecurityError(f"{where}: it was not signed as a member of the chord {one_line(message.chord)}: not run")
    if message.joins is None and ("before" in body or "error_of" in body):
        raise SecurityError(f"{where}: it was signed to follow other tasks, and came without what it takes: not run")


def check_results(message: Message, place: Place, found: Any) -> None:
    """Raise `SecurityError` if these are not the signed results of the tasks whose results the message takes.

    :param found: a `Result`, or a list of results, nested as the value of the earlier tasks is.
    """
    expected = place.get("before")
    leaves = list(_leaves(found))
    if isinstance(expected, Mapping) and len({each.id for each in leaves}) == len(leaves):
        count = expected.get("count")
        planned, joined = (
            (found, []) if count is None or not isinstance(found, list) else (found[:count], found[count:])
        )
        if digest(_ids_of(planned)) == expected.get("ids") and _all_of_chord(joined, expected.get("chord")):
            return
    raise SecurityError(
        f"task {message.task}[{message.id}]: the results in front of its arguments are not those that it was signed "
        "for: not run"
    )


def _all_of_chord(joined: Sequence[Any], chord: str | None) -> bool:
    """Return whether all these results are of tasks that have joined the chord while it ran."""
    return all(chord is not None and each.chord == chord for each in _leaves(list(joined)))


def _leaves(found: Any) -> Iterator[Result]:
    if isinstance(found, list):
        for each in found:
            yield from _leaves(each)
    else:
        yield found


def _ids_of(found: Any) -> Any:
    return list(map(_ids_of, found)) if isinstance(found, list) else found.id


def check_linked(app: AppLike, message: Message, linked: GroupNode) -> None:
    """Raise `SecurityError` if these are not the tasks that were linked to the message when it was signed."""
    if not accepts_only_signed(app):
        return
    if read_body(message, [SIGNED]).get("linked") != digest(_outline(linked)):
        raise SecurityError(
            f"task {message.task}[{message.id}]: the tasks linked to it are not those that it was signed for"
        )
    for linked_message in linked.all_messages():
        check_body(linked_message.copy(joins=()), read_body(linked_message, [SIGNED]))
