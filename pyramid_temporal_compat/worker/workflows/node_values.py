"""What comes of the nodes of a tree, as it passes between workflows: results, errors, and what failed.

Workflow code: it does no I/O, and what it makes of one thing is always the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from temporalio.exceptions import ApplicationError

from ... import states
from ...exceptions import ChordError, InvalidTaskError
from ...message import wire_names as wire
from ...message.failures import error_of, how_it_failed
from ...message.message import Message
from ...message.nodes import ChordNode, Node
from ...message.payload_archive import packed, unpacked
from ...message.tree import SMALL, Tree
from ...payload import Payload
from ...payload.errors import from_wire
from ...payload.types import loads
from .canvas_limits import Large, measured

Value = Any
"""What came of a node: a `Payload`, or a list of such values."""


@dataclass(frozen=True)
class Error:
    """What errbacks are called with: the failed task's message, and its error as `payload.errors` writes it."""

    message: Message
    error: dict[str, Any]
    given: tuple[Payload, ...] = ()
    """The arguments of the failed task: the message's body, and the results that `message.joins` puts before them."""


class MemberFailed(Exception):
    """A member has ended without a result."""

    def __init__(self, message: Message, reason: BaseException) -> None:
        super().__init__(message.id)
        self.message = message
        self.reason = reason
        self.dependency = message.id
        """The result that a chord says it has failed of: of a chain in its header, that of the last step."""
        self.given: tuple[Payload, ...] = ()
        """What the task was called with, as `Error` has it; nothing, where that is not known here."""
        self.heard: frozenset[tuple[str, bytes]] = frozenset()
        """The error callbacks that chords have called for it: a chord around these does not call them again."""


class Halted(ApplicationError):
    """A member ended without a result, by its own will: what would follow does not run."""


def revoked() -> ApplicationError:
    return ApplicationError("revoked", type=wire.REVOKED, non_retryable=True)


def ended_without_result(message: Message, value: Payload) -> Halted:
    state = value.metadata[wire.ENDED_AS].decode()
    return Halted(f"{message.task}[{message.id}] ended {state}", type=wire.HALTED, non_retryable=True)


def chord_failure(node: ChordNode, failed: MemberFailed) -> MemberFailed:
    """What the failure of a member of its header is for a chord, in Celery's words."""
    _, error = how_it_failed(failed.reason)
    raised = from_wire(loads(json.dumps(error).encode()))
    told = error_of(ChordError(f"Dependency {failed.dependency} raised {raised!r}"))
    told["traceback"] = error.get("traceback")
    reason = ApplicationError(str(told["text"]), wire.plain(told), type="ChordError", non_retryable=True)
    body = node.body.result_message
    failure = MemberFailed(replace(body, id=node.id), reason)
    failure.given = (body.body,)
    return failure


def as_workflow_failure(failed: MemberFailed) -> ApplicationError:
    """How the workflow fails: with the member's own error, and for people, which member it was."""
    reason = failed.reason
    state, error = how_it_failed(reason)
    text = f"{failed.message.task}[{failed.message.id}]: {error.get('text')}"
    if dependency_of(reason) is not None:  # a workflow under this one has said it
        text = str(reason)
    if state == states.REVOKED:
        return ApplicationError(str(error.get("text")), type=wire.REVOKED, non_retryable=True)
    return ApplicationError(text, wire.plain(error), failed.dependency, type=str(error.get("type")), non_retryable=True)


def dependency_of(cause: BaseException | None) -> str | None:
    """The member that failed, as its workflow says it."""
    told = cause.details[1:2] if isinstance(cause, ApplicationError) else ()
    return str(told[0]) if told else None


def written(value: Value, tree: Tree) -> Payload:
    """What the workflow gives as its result: a list of results as one, if the workflow above wants them."""
    if isinstance(value, Payload):
        return value
    found: Any = None
    if tree.keeps:
        count, size, gone = measured(value)
        room = tree.limit if tree.above.room is None else tree.above.room
        if gone or size > min(room, tree.limit):
            found = {"large": [count, size]}
        else:
            payloads: list[Payload] = []
            structure = flattened(value, payloads)
            if size > SMALL:
                first = Payload({}, json.dumps(structure).encode())
                return Payload({"encoding": b"binary/plain", wire.VALUES: b"2"}, packed([first, *payloads]))
            found = {"values": structure, "payloads": wire.write_payloads(payloads)}
    return Payload({"encoding": b"json/plain", wire.VALUES: b"1"}, json.dumps(found).encode())


def added_with(result: Payload) -> list[Tree]:
    """The trees that a run has added to the header of its chord."""
    try:
        return [Tree.decode(wire.read_payloads(tree)) for tree in json.loads(result.metadata.get(wire.ADDED, b"[]"))]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InvalidTaskError("what a task adds to its chord can't be read") from None


def read_values(result: Payload) -> Value:
    """What `written` has made of a list of results."""
    try:
        return _read_values(result)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InvalidTaskError(f"not the results of a canvas: {result.data[:200]!r}") from None


def _read_values(result: Payload) -> Value:
    if result.metadata[wire.VALUES] == b"2":
        first, *payloads = unpacked(result.data)
        return unflattened(json.loads(first.data), payloads)
    found = json.loads(result.data)
    if not found:
        return []
    if "large" in found:
        return [Large(*found["large"])]
    return unflattened(found["values"], wire.read_payloads(found["payloads"]))


def failed_beforehand(tree: Tree) -> ApplicationError | None:
    """How a tree failed that what comes before it has failed."""
    if not isinstance(tree.before, dict) or "failed" not in tree.before:
        return None
    try:
        found = json.loads(tree.payloads[0].data)
        if found["state"] == states.REVOKED:
            return ApplicationError(str(found["error"]["text"]), type=wire.REVOKED, non_retryable=True)
        text, kind = str(found["error"].get("text")), str(found["error"].get("type"))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InvalidTaskError(f"not how a task failed: {tree.payloads[0].data[:200]!r}") from None
    return ApplicationError(text, found["error"], type=kind, non_retryable=True)


def call_of(node: Node) -> tuple[str, bytes]:
    """What a callback calls, and with what."""
    message = node.result_message
    return message.task, message.body.data


def flattened(value: Value, payloads: list[Payload]) -> Any:
    if isinstance(value, Error):
        envelope, _ = value.message.encode()
        given = {"given": flattened(list(value.given), payloads)} if value.given else {}
        return {"error": value.error, "envelope": json.loads(envelope.data), **given}
    if isinstance(value, list):
        return [flattened(each, payloads) for each in value]
    payloads.append(value)
    return len(payloads) - 1


def unflattened(written: Any, payloads: Sequence[Payload]) -> Value:
    if isinstance(written, dict):
        message = Message.decode(json.dumps(written["envelope"]).encode(), Payload({}, b""))
        return Error(message, written["error"], tuple(payloads[place] for place in written.get("given", ())))
    if isinstance(written, list):
        return [unflattened(each, payloads) for each in written]
    return payloads[written]
